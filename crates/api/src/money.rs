//! Money and budgets. An amount is whole cents in a decimal string, so that no float ever touches it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::read::{At, Fields, Read, quoted};

/// An amount of US dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonetaryAmount {
    /// Whole cents: `"2500"` is 25 dollars.
    pub amount: String,
    /// The currency.
    pub currency: Currency,
}

crate::literal! {
    /// The only currency of the contract.
    Currency = "USD"
}

/// What a session may cost at list prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLimit {
    /// Always `limit`.
    #[serde(rename = "type")]
    pub kind: BudgetTag,
    /// The cap.
    pub max_list_cost: MonetaryAmount,
}

crate::literal! {
    /// The only kind of budget.
    BudgetTag = "limit"
}

impl MonetaryAmount {
    /// `cents` of a US dollar.
    #[must_use]
    pub fn from_cents(cents: u64) -> MonetaryAmount {
        MonetaryAmount {
            amount: cents.to_string(),
            currency: Currency::Value,
        }
    }

    /// The amount in cents.
    #[must_use]
    pub fn cents(&self) -> u64 {
        self.amount.parse().unwrap_or(0)
    }
}

impl Read for MonetaryAmount {
    fn read(value: Value, at: At<'_>) -> Result<MonetaryAmount, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let amount: String = fields.required("amount")?;
        fields.literal("currency", "USD")?;
        fields.finish()?;
        // Fifteen digits are ten trillion dollars, and far below what a u64 holds.
        let whole =
            (1..=15).contains(&amount.len()) && amount.bytes().all(|byte| byte.is_ascii_digit());
        if !whole || amount.starts_with('0') {
            let rule = "must be whole cents above zero as a decimal string of at most 15 digits, without leading zero";
            return Err(at.key("amount").invalid(format!(
                "{rule} (\"2500\" is 25 dollars), got {}",
                quoted(&amount)
            )));
        }
        Ok(MonetaryAmount {
            amount,
            currency: Currency::Value,
        })
    }
}

impl Read for BudgetLimit {
    fn read(value: Value, at: At<'_>) -> Result<BudgetLimit, Invalid> {
        let mut fields = Fields::of(value, at)?;
        fields.literal("type", "limit")?;
        let max_list_cost = fields.required("max_list_cost")?;
        fields.finish()?;
        Ok(BudgetLimit {
            kind: BudgetTag::Value,
            max_list_cost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_amount_is_whole_cents() {
        let read = |amount: Value| {
            MonetaryAmount::read(json!({"amount": amount, "currency": "USD"}), At::root())
        };
        assert_eq!(read(json!("2500")).unwrap().cents(), 2500);
        for wrong in [
            json!("25.00"),
            json!("025"),
            json!("0"),
            json!(""),
            json!("-5"),
            json!(25),
            json!("1".repeat(16)),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn a_budget_is_closed() {
        let amount = json!({"amount": "1", "currency": "USD"});
        let error = BudgetLimit::read(
            json!({"type": "limit", "max_list_cost": amount, "per": "day"}),
            At::root(),
        );
        assert_eq!(
            error.unwrap_err().message,
            "per: unknown field; known here: `type`, `max_list_cost`"
        );
        let euro = json!({"type": "limit", "max_list_cost": {"amount": "1", "currency": "EUR"}});
        assert!(
            BudgetLimit::read(euro, At::root())
                .unwrap_err()
                .message
                .starts_with("max_list_cost.currency: ")
        );
    }
}
