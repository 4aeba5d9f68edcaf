"""The files of the ledger and the media store: ``xalora repair`` and ``xalora prune``."""

from __future__ import annotations

import argparse

from .. import config
from ..errors import ConfigurationError
from ..ledger.repair import repair as repair_ledger
from ..media.store import MediaStore, budget_of
from .outcome import print_result


async def repair(arguments: argparse.Namespace) -> int:
    """``xalora repair``: save what can be read of a damaged ledger, and name what cannot. 1 if something is lost."""
    repaired = repair_ledger(config.home_folder(arguments.home, arguments.home))
    if repaired is None:
        print_result(arguments, {"repaired": False}, "The ledger is not damaged.")
        return 0
    lines = [
        f"The ledger was damaged: {repaired.fault}. It is kept as {repaired.kept}.",
        f"{repaired.recovered} tasks could be read, and are in the new one.",
    ]
    for title, tasks in (("Lost", repaired.lost), ("Recovered, perhaps with a wrong id", repaired.unsure)):
        for task in tasks:
            lines.append(
                f"{title}: task {task['task_id'] or '-'}, job {task['job_id'] or '-'} (number {task['number']})"
            )
    lines += [f"Lost, or forgotten before: numbers {first} to {last}" for first, last in repaired.untraced]
    if repaired.lost or repaired.untraced:
        lines.append("A lost task would be charged again. `xalora fetch ID` still gets its result.")
    print_result(arguments, {"repaired": True, **vars(repaired)}, *lines)
    return 1 if repaired.lost or repaired.unsure or repaired.untraced else 0


async def prune(arguments: argparse.Namespace) -> int:
    """``xalora prune [--budget GB]``: remove the least recently used media until the rest fits.

    With ``--bucket``, remove what earlier runs left in the bucket, and nothing here. With ``--home``, do that for
    another folder, such as ComfyUI's: what its runs put into a bucket is only known there.
    """
    if arguments.bucket:
        return await _prune_bucket(arguments)
    if arguments.budget is not None and not arguments.budget >= 0:
        raise ConfigurationError(f"--budget is {arguments.budget}", advice="Allowed: 0 or more gigabytes.")
    home = config.home_folder(arguments.home, arguments.home)
    allowed = budget_of(config.stored_settings(home, arguments.home).get("media_budget"))
    pruned = MediaStore(home, allowed).prune(None if arguments.budget is None else int(arguments.budget * 1e9))
    print_result(
        arguments,
        {"removed": pruned.files, "freed_bytes": pruned.freed, "left_bytes": pruned.left},
        f"{len(pruned.files)} files removed, {pruned.freed / 1e6:.1f} MB freed, {pruned.left / 1e6:.1f} MB left",
    )
    return 0


async def _prune_bucket(arguments: argparse.Namespace) -> int:
    from ..http.upload import WebTransport  # Imports HTTP, which the other commands here do not need.
    from ..uploads import Bucket
    from ..uploads.leftovers import remove_leftovers

    settings = config.load(home=arguments.home, fallback_home=arguments.home)
    if settings.bucket is None:
        raise ConfigurationError("No bucket is set", advice="Set XALORA_BUCKET, or run `xalora login --bucket`.")
    if not arguments.older_than >= 0:
        raise ConfigurationError(f"--older-than is {arguments.older_than}", advice="Allowed: 0 or more days.")
    bucket = Bucket(settings.bucket, settings.bucket_options.reveal(), WebTransport())
    pruned = await remove_leftovers(bucket, settings.home, arguments.older_than * 24 * 3600)
    print_result(
        arguments,
        {"removed": pruned.names, "freed_bytes": pruned.freed, "left": pruned.left},
        f"{len(pruned.names)} objects removed, {pruned.freed / 1e6:.1f} MB freed, {pruned.left} left",
    )
    return 0
