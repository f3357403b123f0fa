"""Builds the machine code of a seccomp filter: the answer to each system call, by its number and arguments.

A block is a list of instructions. One that decides ends with a return on every path; a check goes on behind
itself where the call passes, and returns an error where it does not.
Sources: the kernel's userspace-api/seccomp_filter.rst; linux/seccomp.h, linux/bpf_common.h.
"""

import errno
import struct

Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, operand
Block = list[Instruction]

_LOAD, _AND, _JUMP, _EQUAL, _ABOVE, _AT_LEAST, _ANY_BIT, _RETURN = (
    0x20,
    0x54,
    0x05,
    0x15,
    0x25,
    0x35,
    0x45,
    0x06,
)
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_NEAR = 250  # instructions that a jump of one byte crosses, with room for returns put between

ALLOW: Block = [(_RETURN, 0, 0, _ALLOW)]


def error(code: int) -> Block:
    """The call is not made and fails with this errno; with 0 it is not made and succeeds."""
    return [(_RETURN, 0, 0, _ERRNO | code)]


REFUSE = error(errno.EPERM)


def _low(argument: int) -> Instruction:
    """Load the lower half of an argument, all that the kernel itself reads of an `int`."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)


def _high(argument: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4)


def only_bits(argument: int, bits: int, otherwise: Block = REFUSE) -> Block:
    """Check that an `int` has no other bits than these."""
    return [_low(argument), (_ANY_BIT, 0, 1, ~bits & 0xFFFFFFFF), *otherwise]


def no_high_bits(argument: int) -> Block:
    """Check that the upper half of a `long` is zero; its lower half needs a check of its own."""
    return [_high(argument), (_EQUAL, 1, 0, 0), *REFUSE]


def is_null(argument: int) -> Block:
    """Check that a pointer is null."""
    return [_low(argument), (_EQUAL, 0, 2, 0), _high(argument), (_EQUAL, 1, 0, 0), *REFUSE]


def is_one_of(argument: int, values: "tuple[int, ...]") -> Block:
    """Check that an `int` is one of these."""
    tests = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_low(argument), *tests, *REFUSE]


def at_most(argument: int, most: int, otherwise: Block = REFUSE) -> Block:
    """Check that an `int` is between 0 and this."""
    return [_low(argument), (_ABOVE, 0, 1, most), *otherwise]


def cases(
    argument: int, answers: "dict[tuple[int, ...], Block]", otherwise: Block = REFUSE, mask: int = 0xFFFFFFFF
) -> Block:
    """Decide by the value of an `int` under a mask: the block of its value, `otherwise` for every other."""
    code = [_low(argument)]
    if mask != 0xFFFFFFFF:
        code.append((_AND, 0, 0, mask))
    for values, block in answers.items():
        *others, last = values
        code += [(_EQUAL, len(others) - place, 0, value) for place, value in enumerate(others)]
        code += [(_EQUAL, 0, len(block), last), *block]
    return code + otherwise


def program(answers: "dict[int, Block]", architecture: int) -> bytes:
    """The filter: a block for each call number, refusal for every other; death under another architecture."""
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_search(_ranges(answers)),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in _with_shared_returns(code))


def _ranges(answers: "dict[int, Block]") -> "list[tuple[int, Block]]":
    """The first call number of each range of numbers with the same answer, and that answer."""
    ranges = [(0, answers.get(0, REFUSE))]
    for number in range(1, max(answers) + 2):
        answer = answers.get(number, REFUSE)
        if answer != ranges[-1][1]:
            ranges.append((number, answer))
    return ranges


def _search(ranges: "list[tuple[int, Block]]") -> Block:
    """Instructions that halve the ranges until one is left.

    Every new process makes the kernel run the filter for each call number there is, which takes as long as
    the longest part of a program's start when the numbers are compared one by one.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_AT_LEAST, len(below), 0, ranges[middle][0]), *below, *above]


def _with_shared_returns(code: Block) -> Block:
    """The same program, in which jumps lead to the same few returns: every new process has it compiled anew.

    The jumps in `code` may be of any length, those of the result are of one byte.
    """
    placed: Block = []  # from the end of the program to its start
    places: dict[int, int] = {}  # in `placed`, of each instruction
    returns: dict[int, int] = {}  # in `placed`, of the nearest return of each answer

    def place_of(index: int) -> int:
        operation, _, _, operand = code[index]
        if operation == _RETURN:
            if len(placed) - returns.get(operand, -_NEAR) >= _NEAR:
                returns[operand] = len(placed)
                placed.append(code[index])
            return returns[operand]
        if len(placed) - places[index] >= _NEAR:
            placed.append((_JUMP, 0, 0, len(placed) - places[index] - 1))
            places[index] = len(placed) - 1
        return places[index]

    for index in reversed(range(len(code))):
        operation, if_true, if_false, operand = code[index]
        if operation == _RETURN:
            continue  # placed where it is needed
        if operation not in (_LOAD, _AND):  # after these, the next one is placed already
            ends = place_of(index + 1 + if_true), place_of(index + 1 + if_false)
            if_true, if_false = (len(placed) - end - 1 for end in ends)
        places[index] = len(placed)
        placed.append((operation, if_true, if_false, operand))
    return placed[::-1]
