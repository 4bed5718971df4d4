"""src/threading with the kernel's futex and with the portable way of sleeping: no warnings, and no lost wake-up.

steps_stress.c computes graphs that are made up on the real steps.c; test_step_protocol.py explores what such a run only
samples.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STRESS = ROOT / "tests" / "support" / "steps_stress.c"
STEPS = ("border.c", "clock.c", "group.c", "names.c", "park.c", "share.c", "sleep.c", "wait.c")  # with steps.c
THREADING = ROOT / "src" / "threading"
GGML = ROOT / "vendor" / "llama.cpp" / "ggml" / "include"
# The language of the engine: C11, and the names that upstream's build asks the C library for.
SHARED_ANEW = ["-DSHARE_AFTER_NS=0", "-DSHARE_NODES=1"]  # as if other pools came and went all the time
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-D_XOPEN_SOURCE=600", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src'}"]
WAYS = [pytest.param([], id="normal"), pytest.param(["-DSMITH_PARK_PORTABLE"], id="portable")]

pytestmark = [
    pytest.mark.compile,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)"),
]

PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "threading/attached.h"
#include "threading/nodes.h"
#include "threading/park.h"
#include "threading/steps.h"
#include "threading/wait.h"

#define TURNS    20000
#define BARRIERS 4000
#define SLEEPERS 3
#define SLEEP_MS 300

static void check(int good, const char * what) {
    if (!good) {
        printf("%s\n", what);
        exit(1);
    }
}

// -- two threads hand a word to each other: a wake-up that is lost once is a program that never ends

static atomic_int turn;
static long       shared; // not atomic: only whose turn it is touches it

static void * take_turns(void * odd) {
    const int mine = odd != NULL;
    for (int i = 0; i < TURNS; i++) {
        for (int seen = atomic_load(&turn); seen % 2 != mine; seen = atomic_load(&turn)) {
            smith_park(&turn, seen);
        }
        shared++;
        atomic_fetch_add(&turn, 1);
        smith_unpark_all(&turn);
    }
    return NULL;
}

// -- parked threads take no CPU time, and one call wakes them all

static atomic_int gate;

static void * sleep_at_gate(void * out) {
    while (atomic_load(&gate) == 0) {
        smith_park(&gate, 0);
    }
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    *(long *) out = used.tv_sec * 1000 + used.tv_nsec / 1000000;
    return NULL;
}

// -- ggml's barrier, as the patched engine has it

static struct smith_wait wait;
static atomic_int        n_barrier, n_passed;
static int               written[BARRIERS];

static void barrier(void) {
    const int passed = atomic_load(&n_passed);
    if (atomic_fetch_add(&n_barrier, 1) == 1) {
        atomic_store(&n_barrier, 0);
        atomic_fetch_add(&n_passed, 1);
        smith_release(&wait, &n_passed);
    } else {
        smith_wait_while(&wait, &n_passed, passed);
    }
}

static void * compute(void * second) {
    const int ith = second != NULL;
    smith_enter(&wait, ith);
    for (int i = 0; i < BARRIERS; i++) {
        if (i % 2 == ith) {
            if (i % 64 == ith) {
                usleep(200); // the other thread has to wait long enough to sleep
            }
            written[i] = i;
        }
        barrier();
        check(written[i] == i, "a thread passed the barrier before the other one had come");
        barrier();
    }
    return NULL;
}

void smith_attached_ends(void) {}

// -- what a graph by steps would call: there is none here

static void use(int nothing, ...) { (void) nothing; }

#define NEVER(...) { use(0, __VA_ARGS__); abort(); }
enum smith_manner    smith_manner_of(const struct ggml_tensor * node) NEVER(node)
bool smith_same_preparation(const struct ggml_tensor * a, const struct ggml_tensor * b) NEVER(a, b)
bool smith_independent(const struct ggml_tensor * a, const struct ggml_tensor * b) NEVER(a, b)
struct ggml_tensor * ggml_threadpool_smith_node(struct ggml_threadpool * pool, int n) NEVER(pool, n)
bool                 ggml_threadpool_smith_aborts(struct ggml_threadpool * pool) NEVER(pool)
void                 ggml_threadpool_chunk_set(struct ggml_threadpool * pool, int value) NEVER(pool, value)
int                  ggml_threadpool_chunk_add(struct ggml_threadpool * pool, int value) NEVER(pool, value)
void                 ggml_barrier(struct ggml_threadpool * pool) NEVER(pool)
int ggml_threadpool_smith_run(struct ggml_threadpool * pool, int n, int ith, int nth) NEVER(pool, n, ith, nth)

static void both(void * (*function)(void *)) {
    static int second; // its address says: not the first
    pthread_t  other;
    check(pthread_create(&other, NULL, function, &second) == 0, "no thread");
    function(NULL);
    pthread_join(other, NULL);
}

int main(void) {
    alarm(60); // ends a program that hangs, with a signal

    atomic_int word = 1;
    smith_park(&word, 0); // has changed before the sleep: returns at once
    smith_unpark_all(&word);

    both(take_turns);
    check(shared == 2 * TURNS, "turns were lost");

    long      used_ms[SLEEPERS];
    pthread_t sleepers[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++) {
        check(pthread_create(&sleepers[i], NULL, sleep_at_gate, &used_ms[i]) == 0, "no thread");
    }
    usleep(SLEEP_MS * 1000);
    atomic_store(&gate, 1);
    smith_unpark_all(&gate);
    for (int i = 0; i < SLEEPERS; i++) {
        pthread_join(sleepers[i], NULL);
        check(used_ms[i] < SLEEP_MS / 3, "a parked thread was busy");
    }

    smith_wait_init(&wait, 2);
    check(atomic_load(&wait.policy) == SMITH_WAIT_PARK, "LLAMASMITH_WAIT=park was not heeded");
    both(compute);
    check(atomic_load(&wait.slots[0].barriers) == 2 * BARRIERS, "barriers were not counted");
    check(atomic_load(&wait.slots[0].parks) > 0 && atomic_load(&wait.slots[1].parks) > 0, "nobody slept");
    check(atomic_load(&wait.n_parked) == 0, "somebody still counts as asleep");
    smith_wait_free(&wait);
    puts("sound");
    return 0;
}
"""


def compiled(words: list[object], compiler: str = "cc") -> None:
    done = subprocess.run([compiler, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", sorted(path.name for path in THREADING.glob("*.c")))
def test_compiles_without_a_warning(source: str, way: list[str], tmp_path: Path) -> None:
    if source in ("nodes.c", "proc.c") and not GGML.is_dir():
        pytest.skip(f"{source} needs ggml's headers; fetch them with: python vendor/fetch.py")
    compiled([*FLAGS, *way, f"-isystem{GGML}", "-c", THREADING / source, "-o", tmp_path / "out.o"])


def test_the_portable_way_is_iso_c(tmp_path: Path) -> None:
    compiled([*FLAGS, "-Wpedantic", "-DSMITH_PARK_PORTABLE", "-c", THREADING / "park.c", "-o", tmp_path / "park.o"])
    symbols = (tmp_path / "park.o").read_bytes()
    assert b"pthread_cond_wait" in symbols
    assert b"syscall" not in symbols


def sound(program: Path, environment: dict[str, str] | None = None, emulator: str | None = None) -> None:
    env = {**os.environ, **(environment or {})}
    command = [program] if emulator is None else [emulator, program]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "sound\n")


@pytest.mark.parametrize("way", WAYS)
def test_threads_sleep_and_are_woken(way: list[str], tmp_path: Path) -> None:
    program, main = tmp_path / "park", tmp_path / "main.c"
    main.write_text(PROGRAM, encoding="utf-8")
    sources = [THREADING / name for name in (*STEPS, "crew.c", "steps.c")]
    compiled([*FLAGS, *way, "-O2", "-pthread", main, *sources, "-o", program])
    sound(program, {"LLAMASMITH_WAIT": "park"})


@pytest.mark.parametrize("way", WAYS)
def test_steps_compute_each_piece_once_and_in_order(way: list[str], tmp_path: Path) -> None:
    program = tmp_path / "steps"
    sources = [THREADING / name for name in (*STEPS, "steps.c")]
    compiled([*FLAGS, *way, "-O2", "-pthread", *SHARED_ANEW, STRESS, *sources, "-o", program])
    sound(program)


@pytest.mark.parametrize(("machine", "debian"), [("aarch64", "arm64"), ("riscv64", "riscv64")])
def test_steps_compute_on_other_architectures(machine: str, debian: str, tmp_path: Path) -> None:
    compiler, emulator, program = f"{machine}-linux-gnu-gcc", f"qemu-{machine}", tmp_path / "steps"
    if shutil.which(compiler) is None or shutil.which(emulator) is None:
        packages = f"gcc-{machine}-linux-gnu libc6-dev-{debian}-cross qemu-user"
        pytest.skip(f"needs {compiler} and {emulator}; on Debian: apt-get install {packages}")
    sources = [THREADING / name for name in (*STEPS, "steps.c")]
    compiled(
        [*FLAGS, "-O2", "-static", "-DN_GRAPHS=5", "-pthread", *SHARED_ANEW, STRESS, *sources, "-o", program], compiler
    )
    sound(program, emulator=emulator)


WRONG = {
    "a piece that two threads claim": (
        "steps.c",
        r"return seen < step && atomic_compare_exchange_strong.*?;",
        "if (seen >= step) { return false; } sched_yield(); atomic_store(claimed, step); return true;",
    ),
    "a job forgotten between loops": ("border.c", r"return smith_self->job - smith_self->first_job;", "return ith;"),
    "a product before what it depends on": ("group.c", r"&& may_go_first\(threadpool, node, i\)", ""),
    "a product computed twice": ("steps.c", r" \|\| went_first\(steps, node\)", ""),
}


@pytest.mark.parametrize(("file", "right", "wrong"), WRONG.values(), ids=WRONG)
def test_the_stress_finds(file: str, right: str, wrong: str, tmp_path: Path) -> None:
    program, changed = tmp_path / "steps", tmp_path / file
    text, n = re.subn(right, wrong, (THREADING / file).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert n == 1
    changed.write_text(text, encoding="utf-8")
    sources = [changed, *(THREADING / name for name in ("steps.c", *STEPS) if name != file)]
    flags = [*FLAGS, "-Wno-unused-function", "-Wno-unused-parameter", f"-I{THREADING}"]
    compiled([*flags, "-O2", "-pthread", *SHARED_ANEW, STRESS, *sources, "-o", program])
    for _ in range(5):  # it is a matter of luck when threads lose their CPU
        done = subprocess.run([program], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            break
    assert done.returncode in (1, -signal.SIGABRT), (done.returncode, done.stdout, done.stderr)
