"""Four loops that batch norm and group norm share, over arrays of (samples, pixels, channels).

A sample is one image, or the whole batch if all images have the same coefficients. `moments` and
`grad_sums` reduce over pixels; `apply` and `grad_apply` multiply by and add coefficients per sample
and channel.

What makes them fast: a pixel of 32 channels is too short for a vector loop, so coefficients and
sums are repeated to a *period* of several pixels, about 512 values, which stays in the L1 cache.
Work is cut into *jobs* of whole periods. A job's length depends only on the size of a sample, and
the jobs' sums are combined in order, in float64. So the result is the same for any number of
threads, and a sample's result does not depend on the other samples.
"""

import numpy as np
from numba import prange

from .. import memory
from ..jit import kernel_from, serial

_PERIOD = 512  # values
_PERIODS_PER_JOB = 32  # at least; a job of this size fits into the L2 cache
_MOST_JOBS = 512
_PARALLEL = 1 << 16  # with fewer values, a parallel region costs more than it gains


def moments(x):
    """Mean and biased variance per sample and channel; zeros if there are no pixels.

    Takes two passes over each job, the second from the cache, so that a large mean costs no digits.

    Args:
        x: (samples, pixels, channels).

    Returns:
        two float64 arrays (samples, channels).
    """
    flat, period, job, count = _plan(x)
    partial = np.empty((2, count, x.shape[2]))
    _moments_of_jobs(flat, period, job, *partial, count)
    mean, var = np.empty((2, len(x), x.shape[2]))
    _combine_moments(*partial, x.shape[1], job // x.shape[2], mean, var)
    return mean, var


def apply(x, scale, shift, residual, relu):
    """relu?(x * scale + shift + residual?).

    Args:
        x: (samples, pixels, channels).
        scale, shift: (samples, channels), of any float type.
        residual: shaped like x, or None.

    Returns:
        float32, shaped like x.
    """
    flat, period, job, count = _plan(x)
    y = memory.empty(x.shape)
    added = flat if residual is None else residual.reshape(flat.shape)
    coefficients = np.stack([scale, shift]).astype(np.float32)
    out = y.reshape(flat.shape)
    _apply_of_jobs(flat, added, coefficients, period, job, residual is not None, relu, out, count)
    return y


def grad_sums(grad, y, x, center, relu):
    """Sums over pixels of g and of g * (x - center), where g is grad, masked where ReLU made y 0.

    Args:
        grad, y, x: (samples, pixels, channels); y is read only with relu.
        center: (samples, channels).

    Returns:
        two float64 arrays (samples, channels).
    """
    flat, period, job, count = _plan(x)
    partial = np.empty((2, count, x.shape[2]))
    grad, y = grad.reshape(flat.shape), (y if relu else grad).reshape(flat.shape)
    _grad_sums_of_jobs(grad, y, flat, center.astype(np.float32), period, job, relu, *partial, count)
    return partial.reshape(2, len(x), count // max(len(x), 1), x.shape[2]).sum(2)


def grad_apply(grad, y, x, scale, slope, center, shift, relu):
    """g * scale + (x - center) * slope + shift, with g as in `grad_sums`.

    Args:
        grad, y, x: (samples, pixels, channels).
        scale, slope, center, shift: (samples, channels).

    Returns:
        float32, shaped like x.
    """
    flat, period, job, count = _plan(x)
    dx = memory.empty(x.shape)
    grad, y = grad.reshape(flat.shape), (y if relu else grad).reshape(flat.shape)
    coefficients = np.stack([scale, slope, center, shift]).astype(np.float32)
    _grad_apply_of_jobs(
        grad, y, flat, coefficients, period, job, relu, dx.reshape(flat.shape), count
    )
    return dx


def _plan(x):
    """x as (samples, values), the numbers of values per period and per job, and that of jobs."""
    samples, pixels, channels = x.shape
    period = channels * max(1, _PERIOD // channels)
    job = period * max(_PERIODS_PER_JOB, -(-pixels * channels // (period * _MOST_JOBS)))
    return (
        x.reshape(samples, pixels * channels),
        period,
        job,
        samples * -(-pixels * channels // job),
    )


@serial
def _moments(x, period, job_length, means, squares, job):
    """A job's mean per channel, and the sum of squared distances from it."""
    jobs_per_sample = len(means) // max(len(x), 1)
    channels = means.shape[1]
    lanes = np.empty(period, np.float32)
    center = np.empty(period, np.float32)
    begin = job % jobs_per_sample * job_length
    values = x[job // jobs_per_sample][begin : begin + job_length]
    lanes[:] = 0
    _add(values, lanes)
    _fold(lanes, means[job])
    means[job] /= len(values) // channels
    _repeat(means[job], center)
    lanes[:] = 0
    _add_squares(values, center, lanes)
    _fold(lanes, squares[job])


@kernel_from(_PARALLEL, lambda x, *_: x.size)
def _moments_of_jobs(x, period, job_length, means, squares, count):
    for job in prange(count):
        _moments(x, period, job_length, means, squares, job)


@serial
def _combine_moments(means, squares, pixels, pixels_per_job, mean, var):
    """Chan, Golub and LeVeque 1979: squares about the common mean = squares about the job's mean +
    the squared distance between the two means.
    """
    samples, channels = mean.shape
    jobs = len(means) // max(samples, 1)
    mean[:] = 0
    var[:] = 0
    for sample in range(samples):
        for k in range(jobs):
            share = min(pixels_per_job, pixels - k * pixels_per_job) / pixels
            for c in range(channels):
                mean[sample, c] += share * means[sample * jobs + k, c]
        for k in range(jobs):
            share = min(pixels_per_job, pixels - k * pixels_per_job) / pixels
            for c in range(channels):
                distance = means[sample * jobs + k, c] - mean[sample, c]
                own = squares[sample * jobs + k, c] / pixels
                var[sample, c] += own + share * distance * distance


@serial
def _apply(x, residual, coefficients, period, job_length, with_residual, relu, y, job):
    jobs_per_sample = -(-x.shape[1] // job_length)
    scale = np.empty(period, np.float32)
    shift = np.empty(period, np.float32)
    sample, begin = job // jobs_per_sample, job % jobs_per_sample * job_length
    _repeat(coefficients[0, sample], scale)
    _repeat(coefficients[1, sample], shift)
    for start in range(begin, min(begin + job_length, x.shape[1]), period):
        out = y[sample][start : start + period]
        _multiply_add(x[sample][start : start + period], scale, shift, out)
        if with_residual:
            _add(residual[sample][start : start + period], out)
        if relu:
            _clamp(out)


@kernel_from(_PARALLEL, lambda x, *_: x.size)
def _apply_of_jobs(x, residual, coefficients, period, job_length, with_residual, relu, y, count):
    for job in prange(count):
        _apply(x, residual, coefficients, period, job_length, with_residual, relu, y, job)


@serial
def _grad_sums(grad, y, x, center, period, job_length, relu, sums, products, job):
    jobs_per_sample = len(sums) // max(len(x), 1)
    centers = np.empty(period, np.float32)
    masked = np.empty(period, np.float32)
    lanes = np.empty((2, period), np.float32)
    sample, begin = job // jobs_per_sample, job % jobs_per_sample * job_length
    _repeat(center[sample], centers)
    lanes[:] = 0
    for start in range(begin, min(begin + job_length, x.shape[1]), period):
        part = grad[sample][start : start + period]
        if relu:
            _mask(part, y[sample][start : start + period], masked)
            part = masked[: len(part)]
        _add(part, lanes[0])
        _add_products(part, x[sample][start : start + period], centers, lanes[1])
    _fold(lanes[0], sums[job])
    _fold(lanes[1], products[job])


@kernel_from(_PARALLEL, lambda grad, *_: grad.size)
def _grad_sums_of_jobs(grad, y, x, center, period, job_length, relu, sums, products, count):
    for job in prange(count):
        _grad_sums(grad, y, x, center, period, job_length, relu, sums, products, job)


@serial
def _grad_apply(grad, y, x, coefficients, period, job_length, relu, dx, job):
    jobs_per_sample = -(-x.shape[1] // job_length)
    lanes = np.empty((4, period), np.float32)
    masked = np.empty(period, np.float32)
    sample, begin = job // jobs_per_sample, job % jobs_per_sample * job_length
    for k in range(4):
        _repeat(coefficients[k, sample], lanes[k])
    for start in range(begin, min(begin + job_length, x.shape[1]), period):
        part = grad[sample][start : start + period]
        if relu:
            _mask(part, y[sample][start : start + period], masked)
            part = masked[: len(part)]
        _combine_grad(
            part, x[sample][start : start + period], lanes, dx[sample][start : start + period]
        )


@kernel_from(_PARALLEL, lambda grad, *_: grad.size)
def _grad_apply_of_jobs(grad, y, x, coefficients, period, job_length, relu, dx, count):
    for job in prange(count):
        _grad_apply(grad, y, x, coefficients, period, job_length, relu, dx, job)


@serial
def _repeat(values, lanes):
    """Fill a period with copies of one pixel's values."""
    for start in range(0, len(lanes), len(values)):
        pixel = lanes[start : start + len(values)]
        for c in range(len(pixel)):
            pixel[c] = values[c]


@serial
def _fold(lanes, sums):
    """Sum a period's pixels, in float64."""
    sums[:] = 0
    for start in range(0, len(lanes), len(sums)):
        pixel = lanes[start : start + len(sums)]
        for c in range(len(pixel)):
            sums[c] += pixel[c]


@serial
def _add(values, lanes):
    for start in range(0, len(values), len(lanes)):
        part = values[start : start + len(lanes)]
        for i in range(len(part)):
            lanes[i] += part[i]


@serial
def _add_squares(values, center, lanes):
    for start in range(0, len(values), len(lanes)):
        part = values[start : start + len(lanes)]
        for i in range(len(part)):
            distance = part[i] - center[i]
            lanes[i] += distance * distance


@serial
def _add_products(grad, x, center, lanes):
    for i in range(len(grad)):
        lanes[i] += grad[i] * (x[i] - center[i])


@serial
def _multiply_add(x, scale, shift, y):
    for i in range(len(x)):
        y[i] = x[i] * scale[i] + shift[i]


@serial
def _clamp(y):
    for i in range(len(y)):
        y[i] = np.float32(0) if y[i] <= 0 else y[i]


@serial
def _mask(grad, y, masked):
    for i in range(len(grad)):
        masked[i] = np.float32(0) if y[i] <= 0 else grad[i]


@serial
def _combine_grad(grad, x, lanes, dx):
    scale, slope, center, shift = lanes[0], lanes[1], lanes[2], lanes[3]
    for i in range(len(grad)):
        dx[i] = grad[i] * scale[i] + (x[i] - center[i]) * slope[i] + shift[i]
