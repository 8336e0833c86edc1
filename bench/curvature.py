"""What the sharpness of a network costs: products and seconds, beside power iteration, scipy and matfree.

Claims: on an MLP of about 1e6 parameters in float32 the largest Hessian eigenvalue comes to a relative residual of 1e-4
in no more Hessian products and no more time than by the quickest of them, in the memory of some forty vectors; a
product takes under 2.5 times a gradient.

Measured on 2 cores: gdx needs 17 products, matfree 20, scipy 21, power iteration 44; gdx takes .63x the time of scipy,
the quickest peer, and up to 1.13x on a machine that is busy with other work, where reading the basis costs as much as
the products; 35 vectors of memory. A product takes 2.6 times a gradient and so misses its bar: XLA counts 2.6 times the
operations, since eight products of matrices stand for a gradient's three.

    pip install -e '.[bench]'
    python bench/curvature.py            # about a minute on 2 cores
    python bench/curvature.py --toy      # seconds, figures without meaning

What counts: every product with the Hessian, all of them the same `gdx.hvp` of a flat vector. A contestant is done when
the residual |H v - value v| is below 1e-4 times the value; power iteration looks at that after every product for free.
scipy's eigsh is told tol=1e-4, which means the same. matfree's decomposition has a fixed length and no stopping rule:
it is given the shortest of 10, 20, 30, ... that meets the residual, found beforehand for free, so its row flatters it.

Typical printout: see bench/results/curvature-cpu.txt.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse import linalg
from timing import alternate, machine

import gdx

RTOL = 1e-4
MAX_PRODUCTS = 2000


def network(widths, num_examples):
    """An MLP with tanh, on classes of random Gaussian clusters: loss of a batch, parameters, all examples."""
    rng = np.random.default_rng(0)
    params = [
        {"w": jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), jnp.float32), "b": jnp.zeros(shape[1])}
        for shape in itertools.pairwise(widths)
    ]
    labels = rng.integers(widths[-1], size=num_examples)
    centres = 2.0 * rng.normal(size=(widths[-1], widths[0]))
    x = jnp.asarray(centres[labels] + rng.normal(size=(num_examples, widths[0])), jnp.float32)

    def loss(params, batch):
        hidden, labels = batch
        for layer in params[:-1]:
            hidden = jnp.tanh(hidden @ layer["w"] + layer["b"])
        logits = hidden @ params[-1]["w"] + params[-1]["b"]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

    return loss, params, (x, labels)


def by_gdx(loss, params):
    """gdx.sharpness, compiled."""
    run = jax.jit(lambda params: gdx.sharpness(loss, params, rtol=RTOL)).lower(params).compile()
    memory = run.memory_analysis()
    if memory is not None:
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        print(f"\nmemory of gdx.sharpness: {memory.temp_size_in_bytes / size:.0f} vectors of parameters (bar 50)")

    def contestant():
        found = run(params)
        return found.value, found.vector, int(found.num_products)

    return contestant


def flat_product(loss, params):
    """Products as a function of parameters too: were they closed over, XLA would fold half of the work away."""
    unravel = ravel_pytree(params)[1]
    return jax.jit(lambda params, vector: ravel_pytree(gdx.hvp(loss, params, unravel(vector)))[0])


def by_power_iteration(product, params, first):
    """Power iteration in one compiled loop; it finds the eigenvalue of largest modulus, here the largest."""

    @jax.jit
    def run(params, first):
        def step(carry):
            vector, _, _, count = carry
            image = product(params, vector)
            value = vector @ image
            return image / jnp.linalg.norm(image), value, jnp.linalg.norm(image - value * vector), count + 1

        def is_going_on(carry):
            return (carry[2] > RTOL * jnp.abs(carry[1])) & (carry[3] < MAX_PRODUCTS)

        start = first / jnp.linalg.norm(first), jnp.zeros(()), jnp.full((), jnp.inf), 0
        return jax.lax.while_loop(is_going_on, step, start)

    def contestant():
        vector, value, _, count = run(params, first)
        return value, vector, int(count)

    return contestant


def by_scipy(product, params, first):
    """ARPACK over the compiled product; vectors cross to the host and back."""

    def contestant():
        count = 0

        def counted(vector):
            nonlocal count
            count += 1
            return np.asarray(product(params, jnp.asarray(vector.ravel(), jnp.float32)))

        operator = linalg.LinearOperator((first.size, first.size), matvec=counted, dtype=np.float32)
        values, vectors = linalg.eigsh(operator, k=1, which="LA", tol=RTOL, v0=np.asarray(first))
        return values[0], jnp.asarray(vectors[:, 0]), count

    return contestant


def by_matfree(product, params, first, length):
    """Partial eigendecomposition of a fixed number of products, fully reorthogonalised."""
    from matfree import decomp, eig

    partial = eig.eigh_partial(decomp.tridiag_sym(length))
    decompose = jax.jit(lambda params, first: partial(lambda vector: product(params, vector), first))

    def contestant():
        values, vectors = decompose(params, first)
        return values[-1], vectors[-1], length

    return contestant


def relative_residual(product, params, value, vector):
    """Norm of H v - value v over the value, for a vector of any length."""
    vector = np.asarray(ravel_pytree(vector)[0], np.float32)
    vector = vector / np.linalg.norm(vector)
    return float(np.linalg.norm(product(params, vector) - value * vector) / abs(value))


def shortest_matfree(product, params, first, longest):
    """The shortest of 10, 20, ... products that meets the residual."""
    lengths = range(10, longest + 1, 10)
    for length in lengths:
        value, vector, _ = by_matfree(product, params, first, length)()
        if relative_residual(product, params, value, vector) <= RTOL:
            return length
    return lengths[-1]


def compare_eigenvalues(loss, params, rounds, longest):
    """Print a row a contestant."""
    product = flat_product(loss, params)
    first = jnp.asarray(np.random.default_rng(1).normal(size=ravel_pytree(params)[0].size), jnp.float32)
    contestants = {
        "gdx.sharpness": by_gdx(loss, params),
        "power iteration": by_power_iteration(product, params, first),
        "scipy eigsh": by_scipy(product, params, first),
    }
    if importlib.util.find_spec("matfree") is not None:
        length = shortest_matfree(product, params, first, longest)
        contestants["matfree"] = by_matfree(product, params, first, length)
    seconds = alternate(contestants, rounds)
    print(f"\nlargest Hessian eigenvalue of {first.size} parameters to a relative residual of {RTOL:g}")
    print(f"{'':20s}{'value':>12s}{'residual':>12s}{'products':>10s}{'seconds':>10s}{'gdx':>8s}")
    for name, contestant in contestants.items():
        value, vector, count = contestant()
        residual, share = relative_residual(product, params, value, vector), seconds["gdx.sharpness"] / seconds[name]
        print(f"{name:20s}{float(value):12.6g}{residual:12.2g}{count:10d}{seconds[name]:10.3g}{share:7.2f}x")
    if "matfree" not in contestants:
        print("matfree             not installed")
    best = min(value for name, value in seconds.items() if name != "gdx.sharpness")
    print(f"gdx takes {seconds['gdx.sharpness'] / best:.2f}x the time of the quickest peer (bar 1x)")


def compare_product(loss, params, rounds):
    """Print one product over one gradient."""
    vector = jax.tree.map(jnp.ones_like, params)
    gradient, product = jax.jit(jax.grad(loss)), jax.jit(functools.partial(gdx.hvp, loss))
    seconds = alternate({"gradient": lambda: gradient(params), "product": lambda: product(params, vector)}, rounds)
    print(f"\none gradient {seconds['gradient'] * 1e3:.3g} ms, one product {seconds['product'] * 1e3:.3g} ms: ", end="")
    print(f"{seconds['product'] / seconds['gradient']:.2f}x (bar 2.5x)")


def compare_edge(loss, params, rounds):
    """Print what an edge from forward passes costs, in gradients."""
    gradient = jax.jit(jax.grad(loss))
    run = jax.jit(lambda params, gradient: gdx.one_step_edge(loss, params, jax.tree.map(jnp.negative, gradient)))
    slope = gradient(params)
    found = run(params, slope)
    seconds = alternate({"gradient": lambda: gradient(params), "edge": lambda: run(params, slope)}, rounds)
    print(
        f"\none_step_edge along the gradient: {float(found.value):.6g}, {int(found.num_sequential)} evaluations in turn"
    )
    print(f"  of 8 multiples each (bar 9): {seconds['edge'] / seconds['gradient']:.1f} gradients of time")


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    # A toy compiles for seconds to run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", toy)
    print(machine())
    loss_of, params, data = network((8, 12, 4) if toy else (64, 960, 960, 10), 16 if toy else 256)

    def loss(params):
        return loss_of(params, data)

    rounds = 1 if toy else 3
    compare_product(loss, params, rounds if toy else 60)
    compare_eigenvalues(loss, params, rounds, 10 if toy else 200)
    compare_edge(loss, params, rounds)


if __name__ == "__main__":
    main()
