"""Model cards and recipes: what a YAML file may say, checked before anything runs.

| module | what |
|---|---|
| base | records that reject unknown keys, reading YAML, where shipped files lie |
| card | model cards |
| train | recipes of `oodinv train` |
| edit | recipes of `oodinv edit`, and how `blend` composes |
| benchmark | protocols of `oodinv benchmark` |
"""
