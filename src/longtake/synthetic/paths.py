# SPDX-License-Identifier: Apache-2.0
"""Camera paths by hand, walking, on wheels, flying: smooth splines, looking around, tremor, and returns.

A path is a curve in time, drawn at control points 0.8 s apart and smoothed by a uniform cubic B-spline; frames sample
it at a time step of the take's own. All takes of a batch are drawn at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from longtake.synthetic.config import WorldConfig
from longtake.synthetic.furniture import turned
from longtake.synthetic.uniforms import Uniforms, constant

SPACING = 0.8  # seconds between control points
TREMOR_WAVES = 3


@dataclass(frozen=True, slots=True)
class Manner:
    """How the camera of each take moves, (B,) bool each; all False is a hand that floats about."""

    walking: Tensor  # the head of somebody who walks
    robot: Tensor  # low, level, looks where it goes
    drone: Tensor  # any height, looks down a little
    car: Tensor  # along a street
    street: Tensor  # in a street, whatever carries it
    room: Tensor  # in a furnished room: further from the walls, where the furniture is


def draw_manners(u: Uniforms, config: WorldConfig, street: Tensor, room: Tensor) -> Manner:
    """Draw how the cameras move. `street`, `room` (B,) say which takes are outdoors or in furnished rooms."""
    draw, car = u.uniform(), u.chance(config.car_share) & street
    bounds = [config.walking_share, config.robot_share, config.drone_share]
    edges = [sum(bounds[:i]) for i in range(4)]
    walking, robot, drone = ((draw >= edges[i]) & (draw < edges[i + 1]) & ~car for i in range(3))
    return Manner(walking, robot, drone, car, street, room)


def spline(control: Tensor, time: Tensor) -> Tensor:
    """Evaluate a uniform cubic B-spline with controls (B, K, D) at times (B, T) in knots, 0 <= time <= K - 4."""
    whole = time.floor().clamp(0, control.shape[1] - 4)
    f = (time - whole)[..., None]
    base = whole.long()[..., None].expand(-1, -1, control.shape[2])
    p = [control.gather(1, base + i) for i in range(4)]
    g = 1 - f
    weights = (g**3, 3 * f**3 - 6 * f**2 + 4, 3 * g**3 - 6 * g**2 + 4, f**3)
    return sum(w * q for w, q in zip(weights, p, strict=True)) / 6  # pyright: ignore[reportReturnType]


def fold(x: Tensor, half: Tensor) -> Tensor:
    """Reflect unbounded coordinates into [-half, half] (a triangle wave)."""
    half = half.clamp_min(1e-3)
    return half * (1 - (((x / half + 1) / 2).remainder(2.0) - 1).abs() * 2)


def wrap(angle: Tensor) -> Tensor:
    """Bring angles into [-pi, pi]."""
    return angle - 2 * pi * (angle / (2 * pi)).round()


def place(u: Uniforms, config: WorldConfig, half: Tensor, knots: int, manner: Manner) -> Tensor:
    """Draw control positions (B, K, 3) inside the room."""
    margin = config.wall_margin
    free = torch.stack([half[:, 0] - margin, 0.5 * (2 * half[:, 1] - 2 * margin), half[:, 2] - margin], -1)
    inset = torch.where(manner.room[:, None], 0.4, 0.0) * constant((1.0, 0.0, 1.0), half.device)
    free = torch.maximum(free - inset, 0.5 * free).clamp_min(0.05)
    region = free * u.uniform(3, low=0.25, high=1.0)  # the take keeps to a part of the room
    hand = u.uniform(low=1.1, high=1.75)
    hand = torch.where(u.chance(0.15), u.uniform(low=0.45, high=1.1), hand)  # low: a robot, a child, a seat
    hand = torch.where(manner.robot, u.uniform(low=0.15, high=0.9), hand)
    hand = torch.where(manner.drone, u.uniform(low=0.3, high=1.0) * (2 * half[:, 1]).clamp(max=9.0), hand)
    floor = -hand
    rise = u.log_uniform(low=0.02, high=0.4)
    rise = torch.where(manner.robot | manner.car, 0.02, torch.where(manner.drone, 1.5 * rise + 0.2, rise))
    rise = torch.minimum(region[:, 1], rise)
    region = torch.stack([region[:, 0], rise, region[:, 2]], -1)
    middle = u.uniform(3, low=-1.0) * (free - region)
    low, high = -2 * half[:, 1] + margin + region[:, 1], -margin - region[:, 1]
    middle = torch.stack([middle[:, 0], torch.minimum(torch.maximum(floor, low), high), middle[:, 2]], -1)
    speed = u.log_uniform(low=config.speed[0], high=config.speed[1])[:, None]
    speed = torch.where(manner.street[:, None], 1.7 * speed, speed)
    # a walk whose heading drifts
    drift = u.log_uniform(low=0.1, high=0.9)[:, None]
    heading = u.uniform(high=2 * pi)[:, None] + (u.normal(knots) * drift).cumsum(1)
    pace = speed * SPACING * (1 + 0.3 * u.normal(knots)).clamp(0.1, 2.0)
    start = u.uniform(3, low=-1.0) * region
    pieces = [pace * heading.cos(), 0.25 * pace * u.normal(knots), pace * heading.sin()]
    walk = torch.stack([piece.cumsum(1) for piece in pieces], -1)
    walk = fold(walk + start[:, None], region[:, None])
    # or a closed curve, walked round and round
    size = region[:, ::2].clamp(0.1, 2.5)
    phase = u.uniform(high=2 * pi)[:, None] + (
        u.sign()[:, None] * speed * SPACING / size.mean(-1, keepdim=True) * torch.arange(knots, device=half.device)
    )
    ring = torch.stack([size[:, :1] * phase.cos(), walk[..., 1], size[:, 1:] * phase.sin()], -1)
    position = torch.where(u.chance(config.loop_share)[:, None, None], ring, walk)
    # or a drive along the street, with a little steering
    drive = torch.where(manner.car, u.log_uniform(low=2.5, high=13.0), 1.0)[:, None] * SPACING * u.sign()[:, None]
    lane = u.uniform(low=-0.4, high=0.4)[:, None] * half[:, :1] + 0.4 * walk[..., 0] / region[:, :1]
    run = fold(start[:, 2:] + drive * torch.arange(knots, device=half.device), free[:, 2:])
    road = torch.stack([lane, walk[..., 1] + middle[:, 1:2], run], -1)
    return torch.where(manner.car[:, None, None], road, position + middle[:, None])


def look(u: Uniforms, config: WorldConfig, half: Tensor, position: Tensor, manner: Manner) -> Tensor:
    """Draw control angles (B, K, 3): yaw, pitch, roll in radians, continuous, for these control positions."""
    b, knots = position.shape[:2]
    turn = u.log_uniform(low=config.turn[0], high=config.turn[1])[:, None] * (pi / 180) * SPACING
    around = (turn * (u.normal(knots) + u.normal()[:, None] * 0.5)).cumsum(1)
    # ahead: along the walk; at: a point of the room
    step = torch.cat([position[:, 2:] - position[:, :-2], position[:, -2:] - position[:, -3:-1]], 1)
    ahead = torch.atan2(step[..., 0], step[..., 2])
    target = u.uniform(3, low=-0.95, high=0.95) * half
    target = torch.stack([target[:, 0], target[:, 1] * 0.7 - half[:, 1], target[:, 2]], -1)
    wheels = (manner.robot | manner.car)[:, None]
    mode = torch.where(wheels, 0.6, u.uniform()[:, None])
    inwards = (manner.room & u.chance(0.45))[:, None] & ~wheels  # at what stands there, and not at the wall beside
    mode = torch.where(inwards, 0.9, mode)
    target = torch.where(inwards, target * constant((0.8, 1.0, 0.8), half.device), target)
    offset = target[:, None] - position
    at = torch.atan2(offset[..., 0], offset[..., 2])
    tilt = torch.atan2(-offset[..., 1], offset[..., ::2].norm(dim=-1).clamp_min(0.3))  # up is positive
    chased = torch.where(mode < 0.75, ahead, at)
    # follow with bounded turns, so that a fold of the walk is a turn and not a jump
    first = chased[:, :1]
    limit = 60 * pi / 180
    turns = wrap(chased[:, 1:] - chased[:, :-1]).clamp(-limit, limit)
    followed = first + torch.cat([torch.zeros_like(first), turns], 1).cumsum(1)
    glance = torch.where(wheels, 0.1, 0.5) * around.sin()
    yaw = torch.where(mode < 0.45, u.uniform(high=2 * pi)[:, None] + around, followed + glance)
    level = u.normal()[:, None] * 0.12 - 0.08
    wander = u.normal(knots) * u.log_uniform(low=0.02, high=0.25)[:, None]
    level = torch.where(manner.drone[:, None], level - u.uniform(high=0.7)[:, None], level)
    wander = torch.where(wheels, 0.1 * wander, wander)
    pitch = torch.where(mode < 0.75, level + wander, 0.7 * tilt + 0.6 * wander).clamp(-0.9, 0.7)
    steep = u.chance(0.06)[:, None] & ~wheels  # now and then a take that looks at the floor or the ceiling
    pitch = torch.where(steep, u.uniform(low=-1.2, high=0.8)[:, None] + 0.5 * wander, pitch)
    roll = (u.normal()[:, None] * 0.04 + u.normal(knots) * 0.03).expand(b, knots)
    roll = roll + torch.where(u.chance(0.04), u.normal() * 0.6, 0.0)[:, None]
    roll = torch.where(wheels, 0.1 * roll, roll)
    return torch.stack([yaw, pitch, roll], -1)


def tremor(u: Uniforms, time: Tensor, manner: Manner) -> tuple[Tensor, Tensor]:
    """Shake of the hand and steps of the feet at times (B, T) s: metres (B, T, 3) and radians (B, T, 3)."""
    hertz = u.log_uniform(TREMOR_WAVES, 6, low=0.7, high=8.0)
    wave = torch.sin(2 * pi * (hertz[:, None] * time[..., None, None] + u.uniform(TREMOR_WAVES, 6)[:, None]))
    size = u.log_uniform(low=0.2, high=2.0)[:, None, None, None] / hertz[:, None]
    calm = torch.where(manner.robot | manner.car, 0.15, torch.where(manner.drone, 0.4, 1.0))[:, None, None]
    both = (wave * size).sum(2) * calm
    # a step: up and down twice as often as from side to side
    steps = 2 * pi * (u.uniform(low=0.8, high=1.15)[:, None] * time + u.uniform()[:, None])
    sway, bob = steps.sin(), (2 * steps).sin()
    size = torch.where(manner.walking, u.uniform(low=0.4, high=1.3), 0.0)[:, None]
    zero = torch.zeros_like(sway)
    shift = torch.stack([0.03 * size * sway, 0.03 * size * bob, zero], -1)
    angle = torch.stack([0.012 * size * sway, 0.015 * size * (2 * steps).cos(), 0.015 * size * sway], -1)
    return both[..., :3] * 0.006 + shift, both[..., 3:] * 0.008 + angle


def build_paths(
    u: Uniforms,
    config: WorldConfig,
    half: Tensor,
    frames: int,
    street: Tensor | None = None,
    room: Tensor | None = None,
) -> Tensor:
    """Draw room_from_cam (B, T, 4, 4) inside rooms with half extents (B, 3); a pure function of the uniforms.

    `street` (B,) bool tells which rooms are streets, where things go faster, `room` which are furnished.
    """
    none = torch.zeros_like(half[:, 0], dtype=torch.bool)
    street, room = none if street is None else street, none if room is None else room
    manner = draw_manners(u, config, street, room)
    # long takes get shorter steps, so that the number of controls stays small
    longest = min(config.step[1], max(6.0 / 30, 24.0 / frames)) if frames > 1 else config.step[1]
    knots = ceil(longest * frames / SPACING) + 6
    device = half.device
    position = place(u, config, half, knots, manner)
    angles = look(u, config, half, position, manner)
    # per knot speeds: slow the clock where the take would be too fast for its frames
    step = u.log_uniform(low=config.step[0], high=longest)
    moving = (position[:, 1:] - position[:, :-1]).norm(dim=-1).mean(1) / SPACING
    yaw = wrap(angles[:, 1:, 0] - angles[:, :-1, 0])
    turning = torch.stack([yaw, angles[:, 1:, 1] - angles[:, :-1, 1]], -1).norm(dim=-1).mean(1) / SPACING
    far = config.max_move * torch.where(manner.car, 4.0, torch.where(street, 2.0, 1.0))
    step = torch.minimum(step, far / moving.clamp_min(1e-3))
    step = torch.minimum(step, config.max_turn * pi / 180 / turning.clamp_min(1e-3))
    index = torch.arange(frames, device=device, dtype=torch.float32)[None]
    straight = step[:, None] * index
    # there and back again: once, or twice in long takes; the turn at the far end is smooth
    cycles = torch.where(u.chance(0.3), 2.0, 1.0)[:, None] if frames >= 48 else 1.0
    length = step[:, None] * frames / (pi * cycles)  # same mean speed
    back = length * (1 - torch.cos(2 * pi * cycles * index / frames)) * (pi / 4)
    time = torch.where(u.chance(config.revisit_share)[:, None], back, straight)
    knot = 0.5 + time / SPACING
    shift, shake = tremor(u, straight, manner)
    centre = spline(position, knot) + shift
    angle = spline(angles, knot) + shake
    margin = 0.6 * config.wall_margin
    x = torch.minimum(centre[..., 0].abs(), (half[:, :1] - margin)) * centre[..., 0].sign()
    z = torch.minimum(centre[..., 2].abs(), (half[:, 2:] - margin)) * centre[..., 2].sign()
    y = torch.minimum(torch.maximum(centre[..., 1], margin - 2 * half[:, 1:2]), torch.full_like(x, -margin))
    rotation = turned(angle[..., 0], angle[..., 1], angle[..., 2])
    top = torch.cat([rotation, torch.stack([x, y, z], -1)[..., None]], -1)
    bottom = constant((0.0, 0.0, 0.0, 1.0), device).expand(*top.shape[:2], 1, 4)
    return torch.cat([top, bottom], -2)


def build_intrinsics(u: Uniforms, config: WorldConfig, height: int, width: int) -> Tensor:
    """Draw K (B, 3, 3) in pixels, centres at integers; the field of view is that of the long side."""
    side = max(height, width)
    fov = u.uniform(low=config.fov[0], high=config.fov[1]) * (pi / 180)
    focal = 0.5 * side / torch.tan(0.5 * fov)
    aspect = 1 + 0.005 * u.normal()
    cx = 0.5 * (width - 1) + 0.01 * side * u.normal()
    cy = 0.5 * (height - 1) + 0.01 * side * u.normal()
    zero, one = torch.zeros_like(focal), torch.ones_like(focal)
    return torch.stack([focal, zero, cx, zero, focal * aspect, cy, zero, zero, one], -1).unflatten(-1, (3, 3))
