//! Verifies that tokens are taken and refused as the vectors say, which other libraries have made, and that nothing
//! that looks like a token or a set of keys does harm.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use wse_engine::jwt::{JwtConfig, TokenError, Verifier, encode_jwt};
use wse_engine::keys::{Algorithm, KeyError, Keys, MAX_KEYS};

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../spec/vectors/token.json")).expect("vectors are JSON")
});

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn cases(section: &str) -> &'static [Value] {
    VECTORS[section].as_array().expect("a list")
}

fn algorithm(case: &Value) -> Algorithm {
    serde_json::from_value(case["algorithm"].clone()).expect("an algorithm")
}

fn verifier(algorithm: Algorithm, keys: Option<Keys>) -> Verifier {
    Verifier::new(JwtConfig {
        algorithm,
        keys,
        may_renew: false,
        issuer: None,
        audience: None,
        leeway_seconds: 30,
    })
}

fn keys(name: &str, algorithm: Algorithm) -> Keys {
    let (secret, previous) =
        (text(&VECTORS["secret"]).as_bytes(), text(&VECTORS["previous_secret"]).as_bytes());
    match name {
        "secret" => Keys::of_secret(secret, None, Some(previous)),
        "secret with kid" => {
            Keys::of_secret(secret, Some(text(&VECTORS["key_id"]).to_owned()), Some(previous))
        }
        set => Keys::of_set(&VECTORS["sets"][set].to_string(), algorithm),
    }
    .expect("the keys are good")
}

fn now_ms() -> u64 {
    VECTORS["now_ms"].as_u64().expect("a time")
}

/// The name of an error's variant.
fn name_of(error: &impl std::fmt::Debug) -> String {
    format!("{error:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn tokens_are_taken_and_refused_as_the_vectors_say() {
    for case in cases("tokens") {
        let algorithm = algorithm(case);
        let verifier = verifier(algorithm, Some(keys(text(&case["keys"]), algorithm)));
        let outcome = verifier.verify(text(&case["token"]), now_ms());
        let error = outcome.as_ref().err().map(name_of);
        assert_eq!(error.as_deref(), case["error"].as_str(), "{}: {outcome:?}", text(&case["name"]));
        if let Ok(identity) = outcome {
            assert_eq!(identity.user_id.as_deref(), Some("anna"));
        }
    }
}

#[test]
fn keys_that_are_of_no_use_are_refused_with_the_reason() {
    for case in cases("unfit") {
        let (algorithm, name) = (algorithm(case), text(&case["name"]));
        let lone = Keys::of_public(&case["key"].to_string(), algorithm, None).expect_err(name);
        let in_set = Keys::of_set(&json!({ "keys": [case["key"]] }).to_string(), algorithm).expect_err(name);
        assert_eq!(lone, in_set, "{name}");
        let KeyError::NoneOfUse { fault: Some(fault), .. } = lone else { panic!("{name}: {lone:?}") };
        assert_eq!(name_of(&fault), text(&case["error"]), "{name}");
    }
}

#[test]
fn what_we_sign_with_a_private_key_the_public_one_checks() {
    for (name, key) in VECTORS["private_keys"].as_object().expect("an object") {
        let algorithm = algorithm(&json!({ "algorithm": name }));
        let private = STANDARD.decode(text(&key["pkcs8"])).expect("base64");
        let claims = json!({ "sub": "anna", "iat": 1, "exp": now_ms() / 1_000 + 60 }).to_string();
        let token = encode_jwt(&claims, &private, algorithm, Some(text(&key["kid"]).to_owned())).expect(name);
        let good = verifier(algorithm, Some(keys("set", algorithm))).verify(&token, now_ms());
        assert!(good.is_ok(), "{name}: {good:?}");
        let other = if algorithm == Algorithm::Rs256 { Algorithm::Es256 } else { Algorithm::Rs256 };
        assert!(encode_jwt(&claims, &private, other, None).is_err(), "a key of {name} is none of {other}");
    }
}

#[test]
fn newer_keys_take_the_place_of_those_before_and_bad_ones_do_not() {
    let case = cases("tokens").iter().find(|case| case["name"] == "RS256").expect("it is there");
    let verifier = verifier(Algorithm::Rs256, None);
    let verdict = |verifier: &Verifier| verifier.verify(text(&case["token"]), now_ms());
    assert!(!verifier.has_keys());
    assert_eq!(verdict(&verifier), Err(TokenError::UnknownKey), "there are no keys yet");
    verifier.set_keys(&VECTORS["sets"]["set"].to_string()).expect("a set");
    assert!(verifier.has_keys() && verdict(&verifier).is_ok());
    for bad in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"RSA"}]}"#, "<html>"] {
        assert!(verifier.set_keys(bad).is_err(), "{bad}");
        assert!(verdict(&verifier).is_ok(), "{bad}");
    }
    let only_other = json!({ "keys": [VECTORS["sets"]["set"]["keys"][1]] });
    verifier.set_keys(&only_other.to_string()).expect("a set");
    assert_eq!(verdict(&verifier), Err(TokenError::UnknownKey), "its key was taken out");
}

#[test]
fn a_set_is_bounded_and_of_several_keys_each_needs_a_name() {
    let key = |kid: Value| {
        let mut key = VECTORS["sets"]["set"]["keys"][0].clone();
        key["kid"] = kid;
        key
    };
    let set = |kids: Vec<Value>| {
        Keys::of_set(
            &json!({ "keys": kids.into_iter().map(key).collect::<Vec<_>>() }).to_string(),
            Algorithm::Rs256,
        )
    };
    let named = |count: usize| (0..count).map(|kid| json!(kid.to_string())).collect::<Vec<_>>();
    assert!(set(named(MAX_KEYS)).is_ok());
    assert_eq!(set(named(MAX_KEYS + 1)).expect_err("too many"), KeyError::TooMany(MAX_KEYS + 1));
    assert!(set(vec![Value::Null]).is_ok(), "a lone key needs no name");
    assert!(set(vec![Value::Null, Value::Null]).is_err());
    let mixed = set(vec![Value::Null, json!("a")]).expect("one has a name");
    assert_eq!((mixed.fitting(Some("a")).count(), mixed.fitting(None).count()), (1, 0));
}

#[test]
fn a_set_that_gives_a_private_key_away_is_refused() {
    let mut keys = VECTORS["sets"]["set"]["keys"].clone();
    keys[1]["d"] = json!("c2VjcmV0");
    let refused = Keys::of_set(&json!({ "keys": keys }).to_string(), Algorithm::Rs256);
    assert_eq!(refused.expect_err("it is private"), KeyError::Private);
}

#[test]
fn no_error_repeats_what_may_be_a_secret() {
    let key = |member: &str, value: Value| {
        let mut key = VECTORS["sets"]["set"]["keys"][0].clone();
        key[member] = value;
        json!({ "keys": [key] })
    };
    for set in [json!("hunter2"), json!({ "keys": "hunter2" }), json!({ "keys": ["hunter2"] })]
        .into_iter()
        .chain(["kty", "kid", "alg", "use", "key_ops", "n", "e"].into_iter().flat_map(|member| {
            [json!("hunter2!"), json!(["hunter2"]), json!({ "hunter2": 1 })].map(|value| key(member, value))
        }))
    {
        if let Err(error) = Keys::of_set(&set.to_string(), Algorithm::Rs256) {
            assert!(
                !error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"),
                "{error}"
            );
        }
    }
    let claims = encode_jwt(r#"["hunter2"]"#, &[7; 32], Algorithm::Hs256, None).expect_err("a list");
    assert!(!claims.to_string().contains("hunter2"), "{claims}");
}

#[test]
fn a_secret_is_long_and_no_key_that_everybody_knows() {
    let secret = |secret: &str| Keys::of_secret(secret.as_bytes(), None, None).map(drop);
    assert_eq!(secret(&"x".repeat(31)), Err(KeyError::ShortSecret(31)));
    assert!(secret(&"x".repeat(32)).is_ok());
    let pem =
        "\n-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    assert_eq!(secret(pem), Err(KeyError::PemSecret));
}

fn any_verifier() -> impl Strategy<Value = Verifier> {
    prop_oneof![
        Just(("secret", Algorithm::Hs256)),
        Just(("set", Algorithm::Rs256)),
        Just(("lone", Algorithm::Es256)),
    ]
    .prop_map(|(name, algorithm)| verifier(algorithm, Some(keys(name, algorithm))))
}

fn part(value: &str) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    URL_SAFE_NO_PAD.encode(value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_taken_for_a_token(verifier in any_verifier(), token in "\\PC{0,80}|[A-Za-z0-9_-]{0,60}(\\.[A-Za-z0-9_-]{0,60}){0,4}") {
        prop_assert!(verifier.verify(&token, now_ms()).is_err());
    }

    #[test]
    fn no_unsigned_claims_are_taken(
        verifier in any_verifier(),
        alg in "HS256|RS256|ES256|none|\\PC{0,8}",
        kid in proptest::option::of("rsa-1|ec-1|s-2|\\PC{0,8}"),
        signature in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut header = json!({ "alg": alg });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let claims = json!({ "sub": "anna", "exp": now_ms() / 1_000 + 60 });
        let token = format!(
            "{}.{}.{}",
            part(&header.to_string()),
            part(&claims.to_string()),
            URL_SAFE_NO_PAD.encode(signature)
        );
        prop_assert!(verifier.verify(&token, now_ms()).is_err());
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        other in "[A-Za-z0-9_.-]",
    ) {
        let good = cases("tokens").iter().filter(|case| case["error"].is_null()).collect::<Vec<_>>();
        let case = index.get(&good);
        let token = text(&case["token"]);
        let at = at.index(token.len());
        let mut changed = token.to_owned();
        changed.replace_range(at..=at, &other);
        prop_assume!(changed != token);
        let algorithm = algorithm(case);
        let verifier = verifier(algorithm, Some(keys(text(&case["keys"]), algorithm)));
        prop_assert!(verifier.verify(&changed, now_ms()).is_err(), "{}", changed);
    }

    #[test]
    fn no_text_breaks_the_reader_of_sets(jwks in "\\PC{0,200}|\\{\"keys\":\\[(\\{\"kty\":\"(RSA|EC)\",\"crv\":\"P-256\",\"[nexy]\":\"[A-Za-z0-9_-]{0,50}\"\\},?){0,3}\\]\\}") {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            prop_assert!(Keys::of_set(&jwks, algorithm).is_err());
        }
    }
}
