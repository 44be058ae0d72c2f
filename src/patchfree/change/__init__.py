"""Change detection: two dates of one place in, a score, a map and its uncertainty out.

A pair of scenes is one scene with the bands of both dates (`pair.py`), so everything that a scene can do, a pair can.
"""
