"""Directions of latent space: files, lookup, import, fitting and discovery."""

from oodinv.directions.files import Direction as Direction
from oodinv.directions.files import read as read
from oodinv.directions.files import shipped as shipped
from oodinv.directions.files import write as write
from oodinv.directions.lookup import find as find
