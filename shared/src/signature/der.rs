//! The little of DER that a public key is wrapped in.

/// The tag of a sequence.
pub(super) const SEQUENCE: u8 = 0x30;
/// The tag of a bit string.
pub(super) const BIT_STRING: u8 = 0x03;

/// The content of the first element of `der`, which must have this tag, and what follows it.
///
/// Lengths are the shortest possible, as DER wants them, and of at most two bytes: no key is longer than 64 KiB.
pub(super) fn read(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (len, rest) = match rest.split_first()? {
        (len @ 0..=0x7f, rest) => (usize::from(*len), rest),
        (0x81, rest) => {
            rest.split_first().map(|(len, rest)| (usize::from(*len), rest)).filter(|(len, _)| *len > 0x7f)?
        }
        (0x82, rest) => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        _ => return None,
    };
    if *first == tag { rest.split_at_checked(len) } else { None }
}

/// An element of at most 64 KiB, as [`read`] reads it.
pub(super) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("no key is longer than 64 KiB").to_be_bytes();
    let mut element = vec![tag];
    match (high, low) {
        (0, 0..=0x7f) => element.push(low),
        (0, _) => element.extend_from_slice(&[0x81, low]),
        (_, _) => element.extend_from_slice(&[0x82, high, low]),
    }
    element.extend_from_slice(content);
    element
}

/// A whole number that is not negative, from its bytes, the highest first.
pub(super) fn write_number(bytes: &[u8]) -> Vec<u8> {
    const INTEGER: u8 = 0x02;
    // The highest bit is the sign.
    let sign: &[u8] = if bytes.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    write(INTEGER, &[sign, bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_to_its_end_and_no_further() {
        let long = [&[SEQUENCE, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(read(&[SEQUENCE, 2, 1, 2, 3], SEQUENCE), Some((&[1, 2][..], &[3][..])));
        assert_eq!(read(&[SEQUENCE, 0], SEQUENCE), Some((&[][..], &[][..])));
        assert_eq!(read(&long, SEQUENCE), Some((&[7; 256][..], &[][..])));
        for bad in [
            &[][..],
            &[SEQUENCE],
            &[SEQUENCE, 1],
            &[SEQUENCE, 0x81, 1, 0],
            &[SEQUENCE, 0x80, 0, 0],
            &[SEQUENCE, 0x83, 0, 0, 1, 0],
            &[BIT_STRING, 0],
        ] {
            assert_eq!(read(bad, SEQUENCE), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![7; len];
            assert_eq!(read(&write(SEQUENCE, &content), SEQUENCE), Some((&content[..], &[][..])), "{len}");
        }
        assert_eq!(write_number(&[0x7f, 0xff]), [2, 2, 0x7f, 0xff]);
        assert_eq!(write_number(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(write_number(&[]), [2, 1, 0]);
    }
}
