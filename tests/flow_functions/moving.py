"""A function that the flow's tests load by its name: it finds a car as wide as the number on the picture."""

from clips import reader

spec, detect = reader().spec, reader().detect
