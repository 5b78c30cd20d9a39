use super::*;
use crate::list::{Genre, Name};

fn mutant(number: u32, genre: Genre, place: (usize, usize), replacement: &str) -> Mutant {
    let start = Place { line: place.0, column: place.1 };
    Mutant {
        number,
        name: Name { file: "a.rs".into(), change: String::new(), text: String::new(), nth: 1 },
        start,
        end: start,
        genre,
        replacement: replacement.into(),
        return_type: "-> u8".into(),
    }
}

fn woven(source: &str, mutants: &[Mutant]) -> Woven {
    let mutants: Vec<&Mutant> = mutants.iter().collect();
    Weaver::weave(source, &mutants, &[]).unwrap()
}

#[test]
fn what_is_within_is_switched_only_where_no_outer_mutant_is_on() {
    let source = "fn f(a: u8, b: u8, c: u8) -> u8 { a * b + c }";
    let outer = mutant(1, Genre::BinaryOperator, (1, 41), "-");
    let inner = mutant(2, Genre::BinaryOperator, (1, 37), "/");
    let woven = woven(source, &[outer, inner]);
    assert_eq!(
        woven.text,
        "fn f(a: u8, b: u8, c: u8) -> u8 { (if ::mutant_switch::on(1) {((a * b) - (c))} else \
         {(if ::mutant_switch::on(2) {((a) / (b))} else {a * b}) + c}) }"
    );
    let texts: Vec<&str> =
        woven.mutants.iter().map(|(range, _)| &woven.text[range.clone()]).collect();
    assert_eq!(texts, ["((a * b) - (c))", "((a) / (b))"]);
}

#[test]
fn a_body_returns_before_its_first_statement() {
    let source = "fn f(a: u8) -> u8 { !a }";
    let value = mutant(1, Genre::FnValue, (1, 21), "0");
    let not = mutant(2, Genre::UnaryOperator, (1, 21), "");
    assert_eq!(
        woven(source, &[value, not]).text,
        "fn f(a: u8) -> u8 { if ::mutant_switch::on(1) {return 0;} \
         (if ::mutant_switch::on(2) {(a)} else {!a}) }"
    );
}

#[test]
fn an_arm_is_gone_by_its_guard() {
    let source = "fn f(a: u8) -> u8 { match a { 1 => 2, b if b > 3 => 4, _ => 5 } }";
    let gone = mutant(1, Genre::MatchArm, (1, 31), "");
    let always = mutant(2, Genre::MatchArmGuard, (1, 44), "true");
    assert_eq!(
        woven(source, &[gone, always]).text,
        "fn f(a: u8) -> u8 { match a { 1 if !::mutant_switch::on(1) => 2, b if \
         (if ::mutant_switch::on(2) {true} else {b > 3}) => 4, _ => 5 } }"
    );
}

#[test]
fn a_field_is_left_to_the_base() {
    let source = "fn f(a: S) -> S { S { b: 1, c: 2, ..a } }";
    let gone = mutant(1, Genre::StructField, (1, 23), "");
    assert_eq!(
        woven(source, &[gone]).text,
        "fn f(a: S) -> S { (if ::mutant_switch::on(1) {S {  c: 2, ..a }} else \
         {S { b: 1, c: 2, ..a }}) }"
    );
}

#[test]
fn a_constant_has_no_switch_and_a_const_function_becomes_another() {
    let source = "const A: u8 = 1 + 2;\npub const fn f(a: u8) -> u8 { a + 1 }";
    let constant = mutant(1, Genre::BinaryOperator, (1, 17), "-");
    let function = mutant(2, Genre::BinaryOperator, (2, 33), "-");
    let both = [constant, function];
    let found = woven(source, &both);
    assert_eq!(found.left_out, [1]);
    assert_eq!(found.consts.get("f"), Some(&vec![2]));
    assert!(found.text.contains("pub  fn f"), "{}", found.text);
    let keep = ["f".to_owned()];
    let refs: Vec<&Mutant> = both.iter().collect();
    let kept = Weaver::weave(source, &refs, &keep).unwrap();
    assert_eq!((kept.text.as_str(), kept.left_out), (source, vec![1, 2]));
}

#[test]
fn a_let_under_or_is_refused() {
    let source =
        "fn f(a: Option<u8>) -> bool { if let Some(b) = a && b > 1 { true } else { false } }";
    let or = mutant(1, Genre::BinaryOperator, (1, 50), "||");
    let found = woven(source, &[or]);
    assert_eq!((found.text.as_str(), found.refused), (source, vec![1]));
}

#[test]
fn alone_a_mutant_needs_no_switch() {
    let only = |source: &str, mutant: &Mutant| Weaver::only(source, mutant).unwrap().unwrap();
    let constant = mutant(1, Genre::BinaryOperator, (1, 17), "-");
    assert_eq!(only("const A: u8 = 1 + 2;", &constant), "const A: u8 = ((1) - (2));");
    let value = mutant(1, Genre::FnValue, (1, 27), "0");
    assert_eq!(
        only("const fn f(a: u8) -> u8 { a }", &value),
        "const fn f(a: u8) -> u8 { return 0;a }"
    );
}
