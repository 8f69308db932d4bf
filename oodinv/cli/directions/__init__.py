"""`oodinv directions`: lists, imports, fits and discovers directions of latent space."""

import typer

from oodinv.cli.directions.discover import discover_directions
from oodinv.cli.directions.fit import fit_directions
from oodinv.cli.directions.importing import import_directions
from oodinv.cli.directions.listing import list_directions

app = typer.Typer(help="List, import, fit and discover directions of latent space.", no_args_is_help=True)

app.command("list", epilog="Example: oodinv directions list --model ffhq-mobile")(list_directions)
app.command("import", epilog="Example: oodinv directions import age.pt pca.pt --model ffhq-e4e -o directions/")(
    import_directions
)
app.command(
    "fit", epilog="Example: oodinv directions fit faces/ --names age_sex --attribute age --condition sex -o d/"
)(fit_directions)
app.command("discover", epilog="Example: oodinv directions discover sefa --layers 0-3 -o directions/")(
    discover_directions
)
