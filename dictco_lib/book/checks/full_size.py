"""Exercises of the page Full size, on a GPU."""

from __future__ import annotations

from dictco_lib.book.checks.checker import checker, number, slip, whole

_DAY = 86400  # seconds
#: Bytes that training holds for each weight: weight, gradient, two means of Adam, average.
_BYTES = 5 * 4


@checker
def ex_full_1(answer: float, per_second: float, steps: int, batch: int) -> str | None:
    """How many days does a run take at so many crops per second?"""
    answer, want = number(answer), steps * batch / per_second / _DAY
    slips = {
        "a step has more than one crop: multiply by the batch": want / batch,
        "those are seconds; a day has 86,400": want * _DAY,
        "those are hours; a day has 24": want * 24,
        "those are minutes; a day has 1,440": want * 1440,
        "upside down: crops in all over crops a second": 1 / want,
        "more crops a second make it shorter: divide by them": want * per_second**2,
        "crops are divided by the batch, but a step has that many": want / batch**2,
    }
    if abs(answer - want) <= 0.01 * want:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:g} days is not it: steps times crops, over crops a second, over 86,400"
    )


@checker
def ex_full_2(answer: float, memory: float) -> str | None:
    """How many weights can be trained in so many bytes?"""
    answer, want = number(answer), memory / _BYTES
    slips = {
        "that counts the weights only; a run holds gradients, two means of Adam and an average": (
            memory / 4
        ),
        "that leaves the average out, which is shipped in the end": memory / 16,
        "that leaves out one of Adam's two means, and the average": memory / 12,
        "five numbers, but each of them has four bytes": memory / 5,
        "autocast casts copies: the five numbers stay in float32, with four bytes each": (
            memory / 10
        ),
        "the memory is given in bytes, not in bits": want * 8,
        "the memory is given in bytes: a float32 has four of them, not 32": want / 8,
        "that is in millions; how many weights?": want / 1e6,
        "that is in billions; how many weights?": want / 1e9,
        "upside down: memory over bytes for each weight": 1 / want,
    }
    if abs(answer - want) <= 0.01 * want:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:g} weights would take {answer * _BYTES / 1e9:.3g} GB of {memory / 1e9:g}"
    )


@checker
def ex_full_3(answer: float, macs: float, pixels: float, flops: float) -> str | None:
    """How many seconds does an image take at so many operations per second?"""
    answer, want = number(answer), 2 * macs * pixels / flops
    slips = {
        "a MAC is two operations, a multiplication and an addition": want / 2,
        "two operations are counted twice": want * 2,
        "kMAC are thousands: a factor of 1000 is missing": want / 1000,
        "kMAC are thousands, and a MAC is two operations": want / 2000,
        "that is one pixel; the photo has millions": 2 * macs / flops,
        "a pixel counts once for all three channels": want * 3,
        "upside down: operations over operations a second": 1 / want,
        "upside down, and a MAC is two operations": 2 / want,
        "that is in milliseconds": want * 1000,
    }
    if abs(answer - want) <= 0.01 * want:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:g} s is not it: pixels times operations a pixel, over operations a second"
    )


@checker
def ex_full_4(answer: int, digits: int) -> str | None:
    """What is the first whole number that a format with so many binary digits lacks?"""
    answer, last = whole(answer), 2**digits
    slips = {
        f"{last} is a power of two, which the format has; what comes after it?": last,
        "one digit less: the leading 1 is a digit too, though it is not stored": last // 2 + 1,
        "one digit too many: the leading 1 is among them already": 2 * last + 1,
        f"with {digits} digits {last - 1} is 1...1 in binary, which fits; go on": last - 1,
        "that is where it overflows; long before that it skips numbers": 65505,
        "that is the largest number; long before that it skips numbers": 65504,
        "that was bf16, which has 8 digits": 257,
    }
    if answer == last + 1:
        return None
    found = next((hint for hint, value in slips.items() if value == answer), None)
    if found:
        return found
    if answer <= last:
        return f"{answer} has at most {digits} binary digits: the format has it"
    return f"{answer} is not the first one: look for a smaller one, just after a power of two"
