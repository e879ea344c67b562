//! Names of events in snake case.

/// `name` in snake case: `ResourceCreated` is `resource_created`, `HTTPServerStarted` is
/// `http_server_started`, `order.placed` is `order_placed`. Empty where it has no letter and no digit.
///
/// A capital begins a word behind anything but a capital, and before a small letter. What is neither letter
/// nor digit stands between words.
pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    let mut before = None;
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        if !character.is_alphanumeric() {
            before = None;
            continue;
        }
        let begins = before.is_none_or(|before: char| {
            let is_small_next = characters.peek().is_some_and(|next| next.is_lowercase());
            character.is_uppercase() && (is_small_next || !before.is_uppercase())
        });
        if begins && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
        before = Some(character);
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_people_see_them() {
        for (name, snake) in [
            ("ResourceCreated", "resource_created"),
            ("BrokerConnectionEstablishedSagaCompleted", "broker_connection_established_saga_completed"),
            ("HTTPServerStarted", "http_server_started"),
            ("OrderID", "order_id"),
            ("Order2Placed", "order2_placed"),
            ("orderPlaced", "order_placed"),
            ("order_placed", "order_placed"),
            ("ORDER_PLACED", "order_placed"),
            ("order.placed", "order_placed"),
            ("com.acme/Order--Placed", "com_acme_order_placed"),
            ("_Private_", "private"),
            ("ÜberweisungAusgeführt", "überweisung_ausgeführt"),
            ("订单Created", "订单_created"),
            ("X", "x"),
            ("...", ""),
            ("", ""),
        ] {
            assert_eq!(snake_case(name), snake, "{name}");
        }
    }
}
