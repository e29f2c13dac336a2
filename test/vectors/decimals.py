"""Writes decimals.json: python3 test/vectors/decimals.py > test/vectors/decimals.json

The text is what Python's `decimal` makes of the input; the bytes come from the fields of that value, put together as a
string of bits after IEEE 754-2008 §3.5.2, figure 3.1 and table 3.6. Nothing is taken from the package.
"""
import json
import random
from decimal import Decimal

# width: section, digits, bias, bits of the exponent, bits of a coefficient as it stands
FORMATS = {
    32: ('§1.6.13', 7, 101, 8, 23),
    64: ('§1.6.14', 16, 398, 10, 53),
    128: ('§1.6.15', 34, 6176, 14, 113),
}


def bid(value, width):
    _, _, bias, exponent_bits, short = FORMATS[width]
    sign, digits, exponent = value.as_tuple()
    coefficient = int(''.join(map(str, digits)) or '0')
    if exponent == 'F':
        bits = f'{sign}11110' + '0' * (width - 6)
    elif exponent in ('n', 'N'):
        kind = '111111' if exponent == 'N' else '111110'
        bits = f'{sign}{kind}' + format(coefficient, 'b').rjust(width - 7, '0')
    else:
        biased = format(exponent + bias, 'b').rjust(exponent_bits, '0')
        binary = format(coefficient, 'b')
        if len(binary) <= short:
            bits = f'{sign}{biased}' + binary.rjust(short, '0')
        else:
            assert len(binary) == short + 1 and binary.startswith('100')
            bits = f'{sign}11{biased}' + binary[3:]
    assert len(bits) == width
    return format(int(bits, 2), 'x').rjust(width // 4, '0')


def inputs(width, seeded):
    _, digits, bias, exponent_bits, short = FORMATS[width]
    last = 3 * 2 ** (exponent_bits - 2) - 1 - bias
    yield from ['0', '-0', '0.00', '-0.0', '0E+3', '1', '-1', '1.5', '1.50', '1.500', '+7', '.5', '5.', '007', '00.10']
    yield from ['1e3', '1E3', '1.2e+3', '12e-7', '0.000001', '0.0000001', '0.00000', '0.000000', '0.0000000', '123.4E-9']
    yield from ['Infinity', '-Infinity', 'inf', '+INF', 'NaN', '-nan', 'sNaN', '-SNAN7', 'NaN123', 'NaN0', 'NaN007']
    yield from [f'{sign}{kind}{"9" * (digits - 1)}' for sign in ('', '-') for kind in ('NaN', 'sNaN')]
    for coefficient in (0, 1, 10 ** (digits - 1), 10**digits - 1, 2**short - 1, 2**short, 2**short + 1):
        if coefficient < 10**digits:
            yield from [f'{sign}{coefficient}E{at}' for sign in ('', '-') for at in (-bias, 1 - bias, 0, last - 1, last)]
    for _ in range(90):
        count = seeded.randint(1, digits)
        figures = ''.join(seeded.choice('0123456789') for _ in range(count))
        at = seeded.choice([seeded.randint(-bias + count, last), seeded.randint(-12, 3)])
        point = seeded.randint(0, count)
        text = figures if point == count else f'{figures[:point]}.{figures[point:]}'
        yield seeded.choice(['', '-', '+']) + text + (f'{seeded.choice("eE")}{at}' if at else '')


def rows():
    seeded = random.Random(754)
    for width, (section, *_) in FORMATS.items():
        for given in dict.fromkeys(inputs(width, seeded)):
            value = Decimal(given)
            yield {'section': section, 'width': width, 'input': given, 'text': str(value), 'hex': bid(value, width)}


print('[\n' + ',\n'.join('  ' + json.dumps(row, ensure_ascii=False) for row in rows()) + '\n]')
