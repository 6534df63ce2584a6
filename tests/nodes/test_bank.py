"""Where captured features wait: found by the very latents, within a bound."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from .loading import Pack

KIB = 1024


@pytest.fixture
def module(pack: Pack) -> Any:
    return pack.module("nodes.bank")


def latents(seed: int, *, pictures: int = 1) -> Tensor:
    return torch.randn(pictures, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def features(pack: Pack, kib: int = 1, timestep: float = 400.0) -> Any:
    """Features that weigh so many KiB in two blocks, one of them in half precision."""
    blocks = {
        6: torch.zeros(1, 128 * kib, 1, 1, dtype=torch.float32),
        7: torch.zeros(1, 256 * kib, 1, 1, dtype=torch.float16),
    }
    return pack.module("ldznet_core").Features(blocks, timestep, "sampling")


class TestFinding:
    def test_each_picture_of_a_batch_is_found_wherever_it_lies_later(
        self, pack: Pack, module: Any
    ) -> None:
        """LatentFromBatch and RebatchLatents take batches apart and join them anew."""
        bank, batch = module.Bank(), latents(0, pictures=3)
        kept = [features(pack) for _ in range(3)]
        for number, found in enumerate(kept):
            bank.put(batch[number : number + 1], found)
        turned = torch.cat([latents(9), batch.flip(0)])
        assert [bank.get(picture) for picture in turned[1:].split(1)] == kept[::-1]
        assert bank.get(turned[:1]) is module.NEVER_SEEN

    def test_the_smallest_change_is_another_picture(self, pack: Pack, module: Any) -> None:
        bank, picture = module.Bank(), latents(0)
        bank.put(picture, features(pack))
        changed = picture.clone()
        changed[0, 3, 7, 7] = torch.nextafter(changed[0, 3, 7, 7], torch.tensor(9.0))
        assert bank.get(changed) is module.NEVER_SEEN

    def test_the_same_numbers_in_another_shape_are_another_picture(
        self, pack: Pack, module: Any
    ) -> None:
        bank, picture = module.Bank(), latents(0)
        bank.put(picture, features(pack))
        assert bank.get(picture.reshape(1, 4, 4, 16)) is module.NEVER_SEEN

    def test_how_the_numbers_lie_in_memory_does_not_matter(self, pack: Pack, module: Any) -> None:
        bank, picture = module.Bank(), latents(0)
        found = features(pack)
        bank.put(picture.to(memory_format=torch.channels_last), found)
        with torch.inference_mode():
            assert bank.get(picture.clone()) is found

    def test_a_picture_may_be_found_by_several_latents(self, pack: Pack, module: Any) -> None:
        bank, found = module.Bank(), features(pack)
        bank.put_run(
            [module.Picture((latents(0), latents(1)), module.Seen(module.heard_from(found)))]
        )
        assert bank.get(latents(0)) is bank.get(latents(1)) is found
        assert (len(bank), bank.used_bytes) == (1, KIB)
        other = features(pack)
        bank.put(latents(1), other)
        assert (bank.get(latents(0)), bank.get(latents(1))) == (found, other)
        bank.put(latents(0), module.Missing("cut short"))
        assert bank.get(latents(1)) is other

    def test_why_there_are_none_is_kept_too(self, module: Any) -> None:
        bank, missing = module.Bank(), module.Missing("the window was missed")
        bank.put(latents(0), missing)
        assert bank.get(latents(0)) is missing

    def test_what_was_put_last_counts(self, pack: Pack, module: Any) -> None:
        bank, first, second = module.Bank(), features(pack, 1), features(pack, 3)
        bank.put(latents(0), first)
        bank.put(latents(0), second)
        assert bank.get(latents(0)) is second
        assert (len(bank), bank.used_bytes) == (1, 3 * KIB)
        bank.put(latents(0), module.Missing("cut short"))
        assert (len(bank), bank.used_bytes) == (1, 0)


class TestDifference:
    def test_it_is_kept_beside_the_features(self, pack: Pack, module: Any) -> None:
        bank, found, difference = module.Bank(), features(pack), torch.ones(8, 8)
        bank.put(latents(0), found, difference)
        assert bank.seen(latents(0)).difference is difference
        assert bank.seen(latents(0)).features(module.EARLY) is bank.get(latents(0)) is found

    def test_it_is_kept_where_there_are_no_features(self, module: Any) -> None:
        bank, missing, difference = module.Bank(), module.Missing("none"), torch.ones(8, 8)
        bank.put(latents(0), missing, difference)
        assert bank.seen(latents(0)).difference is difference
        assert bank.get(latents(0)) is missing

    def test_of_an_unknown_picture_there_is_none(self, module: Any) -> None:
        seen = module.Bank().seen(latents(0))
        assert seen.features(module.EARLY) is seen.difference is module.NEVER_SEEN

    def test_it_weighs_four_bytes_a_latent(self, pack: Pack, module: Any) -> None:
        """16 KB for a picture of 512 x 512."""
        bank = module.Bank()
        bank.put(latents(0), features(pack), torch.ones(64, 64))
        assert bank.used_bytes == KIB + 16 * KIB
        bank.put(latents(0), module.Missing("cut short"))
        assert bank.used_bytes == 0


class TestBound:
    def test_bytes_are_counted_block_by_block_in_their_dtype(self, pack: Pack, module: Any) -> None:
        bank = module.Bank()
        bank.put(latents(0), features(pack, 2))
        bank.put(latents(1), features(pack, 5))
        assert bank.used_bytes == 7 * KIB

    def test_what_was_used_longest_ago_leaves_first(self, pack: Pack, module: Any) -> None:
        bank = module.Bank(limit_bytes=3 * KIB)
        for seed in range(3):
            bank.put(latents(seed), features(pack))
        bank.get(latents(0))
        bank.put(latents(3), features(pack))
        pushed_out = [bank.get(latents(seed)) is module.PUSHED_OUT for seed in range(4)]
        assert pushed_out == [False, True, False, False]
        assert bank.used_bytes == 3 * KIB

    def test_one_that_is_large_pushes_out_as_many_as_it_must(self, pack: Pack, module: Any) -> None:
        bank = module.Bank(limit_bytes=4 * KIB)
        for seed in range(4):
            bank.put(latents(seed), features(pack))
        bank.put(latents(9), features(pack, 3))
        pushed_out = [bank.get(latents(seed)) is module.PUSHED_OUT for seed in range(4)]
        assert pushed_out == [True, True, True, False]
        assert bank.used_bytes == 4 * KIB

    def test_the_latest_run_is_whole_whatever_room_it_takes(self, pack: Pack, module: Any) -> None:
        bank = module.Bank(limit_bytes=4 * KIB)
        bank.put(latents(9), features(pack, 2))
        run = [features(pack, 2) for _ in range(4)]
        pictures = [(latents(seed),) for seed in range(4)]
        bank.put_run(map(module.Picture, pictures, map(module.Seen, map(module.heard_from, run))))
        assert [bank.get(*picture) for picture in pictures] == run
        assert bank.get(latents(9)) is module.PUSHED_OUT
        assert bank.used_bytes == 8 * KIB
        bank.put(latents(8), features(pack))
        left = [bank.get(*picture) for picture in pictures]
        assert left == [module.PUSHED_OUT, module.PUSHED_OUT, module.PUSHED_OUT, run[3]]
        assert bank.used_bytes == 3 * KIB

    def test_what_else_was_seen_stays_until_it_fills_the_bank_itself(
        self, pack: Pack, module: Any
    ) -> None:
        """A latent that was left in noise must not be taken for a clean one."""
        bank = module.Bank(limit_bytes=3 * KIB)
        clean = latents(5)  # 1 KiB
        for seed in range(5):
            seen = module.Seen(module.heard_from(features(pack, 2)), clean=clean)
            bank.put_run([module.Picture((latents(seed),), seen)])
        kept = [bank.seen(latents(seed)) for seed in range(5)]
        assert [each.features(module.EARLY) is module.PUSHED_OUT for each in kept] == [True] * 4 + [
            False
        ]
        assert [each.clean is clean for each in kept] == [False, True, True, True, True]
        assert bank.used_bytes == 6 * KIB

    def test_but_for_its_own_bound(self, pack: Pack, module: Any) -> None:
        bank = module.Bank(run_limit_bytes=4 * KIB)
        pictures = [(latents(seed),) for seed in range(3)]
        run = [features(pack, 2) for _ in pictures]
        bank.put_run(map(module.Picture, pictures, map(module.Seen, map(module.heard_from, run))))
        assert [bank.get(*picture) for picture in pictures[:2]] == run[:2]
        assert "took more than a gigabyte" in bank.get(*pictures[2]).reason
        assert bank.used_bytes == 4 * KIB

    def test_reasons_weigh_nothing_but_are_counted(
        self, monkeypatch: pytest.MonkeyPatch, module: Any
    ) -> None:
        monkeypatch.setattr(module, "_MOST_ENTRIES", 5)
        bank = module.Bank(limit_bytes=0)
        for seed in range(9):
            bank.put(latents(seed), module.Missing(str(seed)))
        assert len(bank) == 5
        assert bank.get(latents(8)).reason == "8"
        assert bank.get(latents(3)) is module.NEVER_SEEN

    def test_the_bank_of_the_process_holds_256_mib(self, module: Any) -> None:
        assert module.BANK.limit_bytes == 256 * 2**20


def test_many_threads_leave_it_in_order(
    monkeypatch: pytest.MonkeyPatch, pack: Pack, module: Any
) -> None:
    def weigh_slowly(found: Any) -> int:
        time.sleep(1e-4)  # lets another thread in where it hurts most
        weight: int = bytes_of(found)
        return weight

    bytes_of = module._bytes_of
    monkeypatch.setattr(module, "_bytes_of", weigh_slowly)
    bank = module.Bank(limit_bytes=8 * KIB)
    pictures = [latents(seed) for seed in range(12)]
    weights = [features(pack, 1 + seed % 3) for seed in range(12)]
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for turn in range(30):
                number = (first + 5 * turn) % 12
                bank.put(pictures[number], weights[number])
                found = bank.get(pictures[(number + turn) % 12])
                assert found in (*weights, module.NEVER_SEEN, module.PUSHED_OUT)
        except BaseException as error:  # a thread would keep it to itself
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    left = [found for found in map(bank.get, pictures) if not isinstance(found, module.Missing)]
    weight = sum(bytes_of(module.Seen(module.heard_from(found))) for found in left)
    assert bank.used_bytes == weight
    assert 5 * KIB < bank.used_bytes <= 8 * KIB
