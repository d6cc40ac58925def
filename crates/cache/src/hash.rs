//! Two hashes: a keyed one for ids, and a fast checksum for values.

/// The key of the hash [`Secret::id`], random for each file.
#[derive(Clone, Copy)]
pub(crate) struct Secret {
    k0: u64,
    k1: u64,
}

impl Secret {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (low, high) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            k0: u64::from_le_bytes(*low),
            k1: u64::from_le_bytes(*high.first_chunk::<8>()?),
        })
    }

    /// SipHash-1-3: nobody can make keys collide without the secret.
    pub(crate) fn id(self, key: &[u8]) -> i64 {
        let mut v = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        let (words, rest) = key.as_chunks::<8>();
        for word in words {
            compress(&mut v, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        last[7] = key.len().to_le_bytes()[0];
        compress(&mut v, u64::from_le_bytes(last));
        v[2] ^= 0xff;
        for _ in 0..3 {
            round(&mut v);
        }
        (v[0] ^ v[1] ^ v[2] ^ v[3]).cast_signed()
    }
}

fn compress(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

/// Detects a value that was overwritten, torn or damaged; not meant against an
/// attacker. 32 bytes in a step, as fast as memory.
pub(crate) fn checksum(value: &[u8]) -> i64 {
    const K: [u64; 4] = [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
    ];
    let mut lanes = K;
    let (steps, rest) = value.as_chunks::<32>();
    for step in steps {
        for (index, word) in step.as_chunks::<8>().0.iter().enumerate() {
            lanes[index] = mix(lanes[index] ^ u64::from_le_bytes(*word), K[index]);
        }
    }
    let mut last = [0; 32];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    for (index, word) in last.as_chunks::<8>().0.iter().enumerate() {
        lanes[index] = mix(lanes[index] ^ u64::from_le_bytes(*word), K[index]);
    }
    let sum = lanes
        .iter()
        .fold(value.len() as u64, |sum, lane| mix(sum ^ lane, K[1]));
    sum.cast_signed()
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn mix(word: u64, by: u64) -> u64 {
    // An odd constant added in: a zero would swallow what comes after it.
    let wide = u128::from(word) * u128::from(by);
    (wide as u64 ^ (wide >> 64) as u64).wrapping_add(word | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_is_siphash() {
        // That of the standard library has a key of zeros.
        let secret = Secret::from_bytes(&[0; 16]).unwrap();
        let input: Vec<u8> = (0..64).collect();
        for length in 0..=input.len() {
            let mut std = std::hash::DefaultHasher::new();
            std::hash::Hasher::write(&mut std, &input[..length]);
            let expected = std::hash::Hasher::finish(&std);
            assert_eq!(secret.id(&input[..length]).cast_unsigned(), expected);
        }
        // And with a key, from the reference implementation's test.
        let key: Vec<u8> = (0..16).collect();
        let id = Secret::from_bytes(&key).unwrap().id(b"");
        assert_eq!(
            id.to_le_bytes(),
            [0xdc, 0xc4, 0x0f, 0x05, 0x58, 0x01, 0xac, 0xab]
        );
    }

    #[test]
    fn a_changed_byte_changes_the_checksum() {
        let mut value = vec![0; 1000];
        let whole = checksum(&value);

        assert_ne!(whole, checksum(&value[..999]));
        for index in 0..value.len() {
            value[index] = 1;
            assert_ne!(whole, checksum(&value), "byte {index}");
            value[index] = 0;
        }
    }
}
