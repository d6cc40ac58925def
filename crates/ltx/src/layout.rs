//! Integers of the format: big-endian ones, and the varints of the index.

/// `N` bytes from `at`; those that are not there are zero.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut found = [0; N];
    if let Some(there) = bytes.get(at..at + N) {
        found.copy_from_slice(there);
    }
    found
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

/// The most bytes of a varint.
const VARINT: usize = 10;

/// Appends a varint: seven bits a byte, the lowest first, bit 7 on all but the
/// last. The same as protobuf's and Go's.
pub(crate) fn put_varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

/// A varint and what follows it; `None` if it does not end, is too large, or is
/// longer than needed.
pub(crate) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(VARINT).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds one bit.
        if at == VARINT - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            let minimal = at == 0 || bits != 0;
            return minimal.then_some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_both_ways() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            300,
            u64::from(u32::MAX),
            1 << 63,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            bytes.push(9);
            assert_eq!(take_varint(&bytes), Some((value, &[9_u8][..])));
        }
        let mut three_hundred = Vec::new();
        put_varint(300, &mut three_hundred);
        assert_eq!(three_hundred, [0xac, 0x02]);
    }

    #[test]
    fn no_varints() {
        for wrong in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            assert_eq!(take_varint(wrong), None, "{wrong:?}");
        }
    }
}
