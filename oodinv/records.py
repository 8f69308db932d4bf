"""Records that reject what they don't know: the base of cards and recipes."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen record that rejects keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
