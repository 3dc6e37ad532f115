//! The bytes of the original: four of length, big-endian like all numbers, then the type of the message and its fields.

use super::message::{Input, Message, Order, Quote, Side};

const ORDER: u8 = 1;
const QUOTE: u8 = 2;
const BUY: u8 = 1;
const SELL: u8 = 2;

/// Of a time: `YYYYMMDD-hh:mm:ss.mmm`.
const TIME_BYTES: usize = 21;

/// These bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a quote nor an order at byte {at}")]
pub struct Malformed {
    /// Where it begins.
    pub at: usize,
}

/// Appends a message.
pub fn encode(input: &Input, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    match &input.message {
        Message::Quote(quote) => {
            out.push(QUOTE);
            out.extend_from_slice(&input.symbol);
            put_time(quote.time, out);
            out.extend_from_slice(&quote.bid.to_be_bytes());
            out.extend_from_slice(&quote.offer.to_be_bytes());
        }
        Message::Order(order) => {
            let side = if order.side == Side::Buy { BUY } else { SELL };
            out.extend_from_slice(&[ORDER, side]);
            out.extend_from_slice(&order.account.to_be_bytes());
            out.extend_from_slice(&order.id);
            out.extend_from_slice(&input.symbol);
            out.extend_from_slice(&order.quantity.to_be_bytes());
            out.extend_from_slice(&order.price.to_be_bytes());
            put_time(order.time, out);
        }
    }
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Reads the message at `at`, and where the next one begins.
///
/// # Errors
/// When there is none.
pub fn decode(bytes: &[u8], at: usize) -> Result<(Input, usize), Malformed> {
    read(bytes.get(at..).unwrap_or_default()).map(|(input, read)| (input, at + read)).ok_or(Malformed { at })
}

fn read(bytes: &[u8]) -> Option<(Input, usize)> {
    let mut rest = bytes;
    let length = u32::from_be_bytes(take(&mut rest)?) as usize;
    let mut body = rest.get(..length)?;
    let input = match take(&mut body)? {
        [QUOTE] => {
            let (symbol, time) = (take(&mut body)?, take_time(&mut body)?);
            Input {
                symbol,
                message: Message::Quote(Quote { bid: number(&mut body)?, offer: number(&mut body)?, time }),
            }
        }
        [ORDER] => {
            let side = match take(&mut body)? {
                [BUY] => Side::Buy,
                [SELL] => Side::Sell,
                _ => return None,
            };
            let account = u32::from_be_bytes(take(&mut body)?);
            let (id, symbol) = (take(&mut body)?, take(&mut body)?);
            let (quantity, price) = (number(&mut body)?, number(&mut body)?);
            let time = take_time(&mut body)?;
            Input { symbol, message: Message::Order(Order { side, account, id, quantity, price, time }) }
        }
        _ => return None,
    };
    body.is_empty().then_some((input, 4 + length))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn number(bytes: &mut &[u8]) -> Option<f64> {
    take(bytes).map(f64::from_be_bytes)
}

fn put_time(time: u64, out: &mut Vec<u8>) {
    let part = |above: u64, digits: u32| time / above % 10_u64.pow(digits);
    let text = format!(
        "{:08}-{:02}:{:02}:{:02}.{:03}",
        part(1_000_000_000, 8),
        part(10_000_000, 2),
        part(100_000, 2),
        part(1_000, 2),
        part(1, 3)
    );
    out.extend_from_slice(text.as_bytes());
}

/// Its digits as one number.
fn take_time(bytes: &mut &[u8]) -> Option<u64> {
    let text: [u8; TIME_BYTES] = take(bytes)?;
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |time, digit| time * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 20_151_204_143_005_042;
    const QUOTED: Input =
        Input { symbol: *b"AAAA", message: Message::Quote(Quote { bid: 19.5, offer: 19.53, time: TIME }) };
    const ORDERED: Input = Input {
        symbol: *b"BBBB",
        message: Message::Order(Order {
            side: Side::Sell,
            account: 1_234,
            id: *b"000042",
            quantity: 300.0,
            price: 12.25,
            time: TIME,
        }),
    };

    #[test]
    fn what_was_encoded_is_decoded() {
        let mut bytes = Vec::new();
        encode(&QUOTED, &mut bytes);
        assert_eq!(bytes.len(), 46, "a quote is as long as the original's");
        encode(&ORDERED, &mut bytes);
        assert_eq!(bytes.len(), 46 + 57, "and so is an order");
        assert_eq!(decode(&bytes, 0), Ok((QUOTED, 46)));
        assert_eq!(decode(&bytes, 46), Ok((ORDERED, 103)));
        assert_eq!(decode(&bytes, 103), Err(Malformed { at: 103 }));
    }

    #[test]
    fn what_is_cut_off_or_altered_is_malformed() {
        let mut bytes = Vec::new();
        encode(&ORDERED, &mut bytes);
        assert_eq!(decode(&bytes[..56], 0), Err(Malformed { at: 0 }));
        bytes[5] = 9; // neither side
        assert_eq!(decode(&bytes, 0), Err(Malformed { at: 0 }));
        bytes[4] = 9; // neither type
        assert_eq!(decode(&bytes, 0), Err(Malformed { at: 0 }));
    }
}
