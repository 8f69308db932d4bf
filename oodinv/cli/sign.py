"""`oodinv sign`: Content Credentials for finished pictures."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from oodinv.cli import options


def sign(
    *,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of invert or edit.", show_default=False)],
    certificate: Annotated[
        Path, typer.Option(help="PEM file with the certificate chain, the signer's first.", show_default=False)
    ],
    key: Annotated[Path, typer.Option(help="PEM file with the private key in PKCS #8.", show_default=False)],
    algorithm: Annotated[
        Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"],
        typer.Option(help="Signature algorithm of the key, as C2PA names it."),
    ] = "es256",
    timestamp: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="URL of a timestamp service (RFC 3161), called for each picture.", show_default=False
        ),
    ] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Sign the pictures of a run with C2PA Content Credentials, as copies in OUT/signed.

    Needs c2pa-python: pip install 'oodinv\\[c2pa]'. Each copy records the tool, model
    and recipe that made it, and its photo if that is unchanged.

    [bold]Example[/]

        oodinv sign out-older/ --certificate chain.pem --key key.pem
    """
    from oodinv.cli.progress import Summary, conclude, follow
    from oodinv.runs.results import open_results
    from oodinv.workflows.sign import FOLDER, Credentials
    from oodinv.workflows.sign import sign as sign_results

    results = open_results(folder, ("invert", "edit", "blend"))
    events = sign_results(results, Credentials(certificate, key, algorithm, timestamp))
    conclude(follow(events, Summary(folder / FOLDER), "signing", quiet), as_json=json, quiet=quiet)
