"""Model cards and recipes: schemas of YAML files, which are validated before anything runs.

| module | contents |
|---|---|
| base | reading and validation of YAML, folders of shipped files |
| card | model cards |
| train | recipes of `oodinv train` |
| edit | recipes of `oodinv edit` |
| benchmark | protocols of `oodinv benchmark` |
"""
