"""Meshes of the procedural scenes, made with NumPy: vertices and faces in a unit box around the origin."""

from dataclasses import dataclass

import numpy as np

from ..scenes.scene import Shape


@dataclass(frozen=True)
class Mesh:
    """Quads with their corners; `smooth`: interpolated normals."""

    vertices: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 4) int, corners of quads
    smooth: bool = False


def shape_mesh(shape: Shape) -> Mesh:
    """The mesh of a shape: made in the unit box, deformed there, then scaled to the shape's size in metres."""
    mesh = _MAKERS[shape.kind](shape)
    v = mesh.vertices.copy()
    if shape.bumps:
        v += shape.bumps * _smooth_noise(v, shape.bump_scale, shape.seed)[:, None] * _outward(shape, v)
    if shape.taper:
        v[:, [0, 2]] *= (1.0 + shape.taper * 2.0 * v[:, 1:2]).clip(0.02)
    if shape.twist:
        angle = shape.twist * v[:, 1]
        c, s = np.cos(angle), np.sin(angle)
        v[:, 0], v[:, 2] = c * v[:, 0] - s * v[:, 2], s * v[:, 0] + c * v[:, 2]
    return Mesh(v * np.asarray(shape.size), mesh.faces, mesh.smooth)


def _outward(shape: Shape, v: np.ndarray) -> np.ndarray:
    """Direction of displacement by bumps: up for a plane, otherwise away from the centre."""
    if shape.kind == "plane":
        return np.broadcast_to((0.0, 0.0, 1.0), v.shape)
    return v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-9)


def _smooth_noise(points: np.ndarray, wavelength: float, seed: int) -> np.ndarray:
    """Smooth noise within ±1 at points (V, 3): a sum of random plane waves, softly clipped."""
    rng = np.random.default_rng(seed)
    n_waves = 16
    directions = rng.normal(size=(n_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wavenumbers = 2 * np.pi / wavelength * rng.uniform(0.5, 1.5, n_waves)
    phases = rng.uniform(0, 2 * np.pi, n_waves)
    return np.tanh(np.sin(points @ (directions * wavenumbers[:, None]).T + phases).sum(axis=1) / np.sqrt(n_waves / 2))


def _grid_faces(rows: int, columns: int, wrap_rows: bool = False, wrap_columns: bool = False) -> np.ndarray:
    """Quads (F, 4) over a grid of `rows` × `columns` vertices in row order, optionally wrapped around."""
    i = np.arange(rows if wrap_rows else rows - 1)[:, None]
    j = np.arange(columns if wrap_columns else columns - 1)[None, :]
    i1, j1 = (i + 1) % rows, (j + 1) % columns
    corners = [i * columns + j, i * columns + j1, i1 * columns + j1, i1 * columns + j]
    return np.stack(np.broadcast_arrays(*corners), axis=-1).reshape(-1, 4)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]], smooth: bool = False) -> Mesh:
    """Join several (vertices, faces) into one mesh."""
    starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
    faces = [f + start for (_, f), start in zip(parts, starts, strict=True)]
    return Mesh(np.concatenate([v for v, _ in parts]), np.concatenate(faces), smooth)


def _plane(shape: Shape) -> Mesh:
    n = 97 if shape.bumps else 2
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n))
    return Mesh(np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3), _grid_faces(n, n), smooth=bool(shape.bumps))


def _box(shape: Shape) -> Mesh:
    n = 25 if shape.bumps or shape.twist else 2
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n))
    side = np.stack([x, y, np.full_like(x, 0.5)], axis=-1).reshape(-1, 3)
    # Rotated, not mirrored, since glass needs faces that point outward.
    return _joined([(np.roll(side * (1, s, s), axis, axis=1), _grid_faces(n, n)) for axis in range(3) for s in (-1, 1)])


def _round(shape: Shape, profile: np.ndarray, segments: int, smooth: bool) -> Mesh:
    """A surface of revolution about y, from a profile (n, 2) of radius and height."""
    turn = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    radius, height = profile[:, :1], profile[:, 1:]
    v = np.stack([radius * np.cos(turn), np.broadcast_to(height, (len(profile), segments)), -radius * np.sin(turn)], -1)
    return Mesh(v.reshape(-1, 3), _grid_faces(len(profile), segments, wrap_columns=True), smooth)


def _sphere(shape: Shape) -> Mesh:
    angle = np.linspace(0, np.pi, 97)
    return _round(shape, 0.5 * np.stack([np.sin(angle), -np.cos(angle)], axis=1), 192, smooth=True)


def _cylinder(shape: Shape) -> Mesh:
    rim = np.stack([np.full(33, 0.5), np.linspace(-0.5, 0.5, 33)], axis=1)
    return _round(shape, np.concatenate([[[0, -0.5]], rim, [[0, 0.5]]]), 96, smooth=False)


def _cone(shape: Shape) -> Mesh:
    side = np.stack([np.linspace(0.5, 0, 33), np.linspace(-0.5, 0.5, 33)], axis=1)
    return _round(shape, np.concatenate([[[0, -0.5]], side]), 96, smooth=False)


def _tube(path: np.ndarray, radius: float, around: int, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A tube (vertices, faces) along a path (n, 3)."""
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    # Minimal-rotation frame: the previous side vector, made orthogonal to the new direction.
    sides = np.empty_like(path)
    side = np.cross(ahead[0], np.eye(3)[np.argmin(np.abs(ahead[0]))])
    for i, direction in enumerate(ahead):
        side = side - direction * (side @ direction)
        side /= np.linalg.norm(side)
        sides[i] = side
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)[:, None]
    ring = np.cos(turn) * sides[:, None] + np.sin(turn) * np.cross(ahead, sides)[:, None]
    return (path[:, None] + radius * ring).reshape(-1, 3), _grid_faces(len(path), around, closed, wrap_columns=True)


def _torus(shape: Shape) -> Mesh:
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = min(max(shape.thickness, 0.02), 0.45) / 2
    path = (0.5 - radius) * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    return _joined([_tube(path, radius, 32, closed=True)], smooth=True)


def _knot(shape: Shape) -> Mesh:
    p, q = [(2, 3), (3, 2), (2, 5), (3, 4), (5, 2)][shape.seed % 5]
    turn = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    r = 0.33 + 0.12 * np.cos(q * turn)
    path = np.stack([r * np.cos(p * turn), r * np.sin(p * turn), -0.14 * np.sin(q * turn)], axis=1)
    return _joined([_tube(path, max(shape.thickness, 0.005) / 2, 16, closed=True)], smooth=True)


def _wire(shape: Shape) -> Mesh:
    """A random wire through the box, with as many bends as the shape has pieces."""
    rng = np.random.default_rng(shape.seed)
    knots = rng.uniform(-0.5, 0.5, (shape.pieces + 2, 3))
    knots[0, 0], knots[-1, 0] = -0.5, 0.5
    at = np.linspace(0, len(knots) - 1, 24 * len(knots))
    i = np.minimum(at.astype(int), len(knots) - 2)
    t = (at - i)[:, None]
    smooth = t * t * (3 - 2 * t)
    path = knots[i] * (1 - smooth) + knots[i + 1] * smooth
    # A small linear part keeps the path moving at the knots of the spline.
    path[:, 0] = 0.5 * path[:, 0] + 0.5 * np.linspace(-0.5, 0.5, len(path))
    return _joined([_tube(path, max(shape.thickness, 1e-4) / 2, 8, closed=False)], smooth=True)


def _grille(shape: Shape) -> Mesh:
    """Parallel bars, and fewer across: a fence, a grid, a blind."""
    rng = np.random.default_rng(shape.seed)
    width = max(shape.thickness, 1e-4)
    box = _box(Shape(kind="box", size=(1, 1, 1)))
    across = int(rng.integers(0, shape.pieces + 1))
    depth = width / 2
    bars = [((width, 1, depth), (x, 0, 0)) for x in np.linspace(-0.5, 0.5, shape.pieces + 1)]
    bars += [((1, width, depth), (0, y, depth)) for y in np.linspace(-0.45, 0.45, across)]
    return _joined([(box.vertices * np.array(size) + np.array(at), box.faces) for size, at in bars])


def _star(shape: Shape) -> Mesh:
    """A star with as many points as pieces, extruded."""
    points = max(shape.pieces, 3)
    turn = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 0.5, 0.5 * (0.3 + 0.5 * shape.thickness))
    rim = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    rings = [(0.0, -0.5), (1.0, -0.5), (1.0, 0.5), (0.0, 0.5)]
    v = np.stack([np.column_stack([rim * scale, np.full(len(rim), z)]) for scale, z in rings])
    return Mesh(v.reshape(-1, 3), _grid_faces(len(rings), len(rim), wrap_columns=True))


def _leaves(shape: Shape) -> Mesh:
    """Small flat pieces scattered in the box, such as foliage or confetti."""
    rng = np.random.default_rng(shape.seed)
    n = shape.pieces
    centres = rng.uniform(-0.5, 0.5, (n, 1, 3))
    ahead = rng.normal(size=(n, 3))
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, rng.normal(size=(n, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    length = shape.thickness * rng.uniform(0.5, 1.5, (n, 1))
    width = length * rng.uniform(0.3, 0.8, (n, 1))
    corners = np.stack([ahead * length, side * width, -ahead * length, -side * width], axis=1) / 2
    return Mesh((centres + corners).reshape(-1, 3), np.arange(4 * n).reshape(n, 4))


_MAKERS = {
    "plane": _plane,
    "box": _box,
    "sphere": _sphere,
    "shell": _sphere,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "knot": _knot,
    "wire": _wire,
    "grille": _grille,
    "star": _star,
    "leaves": _leaves,
}
