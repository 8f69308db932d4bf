"""Directions of latent space: their files, where they are found, and how they are made."""

from oodinv.directions.direction import Direction as Direction
from oodinv.directions.direction import find as find
from oodinv.directions.direction import read as read
from oodinv.directions.direction import shipped as shipped
from oodinv.directions.direction import write as write
