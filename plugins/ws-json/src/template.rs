use serde::Deserialize;
use serde_json::json;

/// A message with places to fill in: `{symbols}`, a JSON array of the exchange's names; or `{symbol}`, one name, and then
/// there is a message for each; and `{request}`, the message's number.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Message(String);

impl TryFrom<String> for Message {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (text.contains("{symbols}"), text.contains("{symbol}")) {
            (false, false) => Err("must have {symbols}, an array of names, or {symbol}, one name, where names belong"),
            (true, true) => Err("must have {symbols} or {symbol}, not both"),
            _ => Ok(Self(text)),
        }
    }
}

impl Message {
    /// Whether the config gave none.
    pub(crate) fn is_missing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one for each symbol.
    pub(crate) fn is_of_one(&self) -> bool {
        self.0.contains("{symbol}")
    }

    pub(crate) fn fill_in(&self, request: u64, symbols: &[&str]) -> String {
        // The place of one name is in a string already, so the name goes without its quotes.
        let quoted = json!(symbols.concat()).to_string();
        let name = &quoted[1..quoted.len() - 1];
        let text = self.0.replace("{request}", &request.to_string());
        text.replace("{symbols}", &json!(symbols).to_string()).replace("{symbol}", name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_as_json() {
        let message = |text: &str| Message::try_from(text.to_owned()).unwrap();
        let all = message(r#"{"id":{request},"products":{symbols}}"#);
        assert_eq!(all.fill_in(7, &["A-B", "C\"D"]), r#"{"id":7,"products":["A-B","C\"D"]}"#);
        let each = message(r#"{"channel":"book_{symbol}"}"#);
        assert_eq!(each.fill_in(7, &["a{request}\""]), r#"{"channel":"book_a{request}\""}"#);
        assert_eq!((all.is_of_one(), each.is_of_one()), (false, true));
        for text in ["", "{}", "{symbol} {symbols}"] {
            assert!(Message::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
