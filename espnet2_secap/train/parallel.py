"""Several training processes on one node: one per GPU, or `--train_nproc` of them on CPUs."""

import argparse
import os
import sys
from collections.abc import Callable

import torch
from espnet2.train.distributed_utils import free_port, get_master_port, get_node_rank, get_num_nodes
from torch.multiprocessing import ProcessExitedException, start_processes

from espnet2_secap.errors import SecError, cli
from espnet2_secap.train.interrupt import REQUEUE, interrupt


def processes_per_node(args: argparse.Namespace) -> int:
    """How many processes train on this node.

    Raises:
        SecError: --train_nproc is out of range.
    """
    if args.train_nproc < 1:
        raise SecError(f"--train_nproc {args.train_nproc}: must be at least 1")
    if args.ngpu and args.train_nproc > 1:
        raise SecError(
            f"--train_nproc {args.train_nproc}: is for CPUs; with --ngpu {args.ngpu} each GPU has one process: omit it"
        )
    return args.train_nproc if args.ngpu == 0 else args.ngpu if args.multiprocessing_distributed else 1


def name_init_file(args: argparse.Namespace) -> None:
    """Give each start of a Slurm job its own rendezvous file for its nodes.

    A requeued job has the same command, and a rendezvous file that was used before makes the next start fail.
    """
    job, restarts = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", "0")
    if job and args.dist_init_method.startswith("file://"):
        args.dist_init_method += f".{job}.{restarts}"


def run_processes(main_worker: Callable, args: argparse.Namespace, nproc: int) -> None:
    """Start `nproc` processes on this node, and end with the status of the first that fails.

    Args:
        main_worker: that of ESPnet's task; gets the arguments of one process.
        args: of all processes; nodes are numbered as by ESPnet's launcher (--dist_launcher, ...).
        nproc: processes on each node.
    """
    num_nodes = get_num_nodes(args.dist_world_size, args.dist_launcher)
    node_rank = get_node_rank(args.dist_rank, args.dist_launcher) if num_nodes > 1 else 0
    if num_nodes == 1:
        args.dist_master_addr = "localhost"
        if args.dist_init_method == "env://" and get_master_port(args.dist_master_port) is None:
            args.dist_master_port = free_port()
    args.distributed = True
    args.multiprocessing_distributed = False
    args.dist_world_size = nproc * num_nodes
    if args.ngpu == 0:
        args.dist_backend = "gloo"
    context = start_processes(_one, (main_worker, args, nproc, node_rank), nprocs=nproc, join=False)
    interrupt.children = context.pids()
    try:
        while not context.join():
            pass
    except ProcessExitedException as err:  # it has printed its error
        sys.exit(REQUEUE if err.exit_code == REQUEUE else 1)


def _one(number: int, main_worker: Callable, args: argparse.Namespace, nproc: int, node_rank: int) -> None:
    args.dist_rank = nproc * node_rank + number
    args.local_rank = number if args.ngpu else None
    args.ngpu = min(args.ngpu, 1)
    if args.ngpu == 0:
        torch.set_num_threads(max(1, torch.get_num_threads() // nproc))
    with interrupt.listening():
        cli(main_worker, "sec_train")(args)
