//! Tests of the screens.

use std::time::Duration;

use campaign_metrics::pb::watch_campaigns_response::Change;

use super::*;
use crate::view::WIDTH;

const HEIGHT: usize = 12;

fn name(id: &str) -> String {
    format!("workspaces/acme/campaigns/{id}")
}

fn campaign(id: &str, state: pb::CampaignState, sent: i64, failed: i64) -> pb::Campaign {
    let total = sent + failed + 118;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let progress_ratio = Some((sent + failed) as f64 / total as f64);
    pb::Campaign {
        name: name(id),
        state: state.into(),
        lead_counts: Some(pb::LeadCounts { sent, failed, pending: 98, partial: 20, total }),
        progress_ratio,
        delivery_rate: Some(pb::Rate { numerator: 0, denominator: 2, ratio: Some(0.0) }),
        delivery_health: pb::DeliveryHealth::Low.into(),
        ..pb::Campaign::default()
    }
}

fn board(campaigns: Vec<pb::Campaign>, now: Instant) -> Board {
    let mut board = Board::new();
    board.connected();
    for campaign in campaigns {
        board.apply(Change::Campaign(campaign), now);
    }
    board.apply(Change::Synced(()), now);
    board
}

fn many(count: usize) -> Vec<pb::Campaign> {
    (0..count).map(|number| campaign(&format!("c{number:02}"), pb::CampaignState::Active, 7, 5)).collect()
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

fn marked(lines: &[Line]) -> Vec<&str> {
    lines.iter().filter(|line| line.is_marked).map(|line| line.text.split_whitespace().nth(1).unwrap()).collect()
}

#[test]
fn the_list_shows_every_campaign_with_progress_pace_and_end() {
    let start = Instant::now();
    let paused = pb::Campaign {
        not_sending_reasons: vec![pb::NotSendingReason::Paused.into()],
        ..campaign("autumn", pb::CampaignState::Paused, 3, 1)
    };
    let mut board = board(vec![campaign("spring", pb::CampaignState::Active, 21, 11), paused], start);
    board.apply(
        Change::Campaign(campaign("spring", pb::CampaignState::Active, 51, 11)),
        start + Duration::from_mins(30),
    );
    let mut place = Place::default();
    let now = start + Duration::from_mins(30);
    let expected = [
        "acme: 2 campaigns, 1 active",
        "Live",
        "",
        "  CAMPAIGN  STATE     DONE  LEADS  FAILED  HEALTH  PACE  READY IN",
        "> spring    ACTIVE  34.4 %    180      11  LOW?    60/h       1 h",
        "  autumn    PAUSED   3.3 %    122       1  LOW?     0/h         -",
        "",
        "",
        "",
        "",
        "spring: messages can be sent",
        "Up/Down select   Enter details   q quit",
    ];
    assert_eq!(texts(&place.list(&board, "acme", HEIGHT, now)), expected);
    assert!(place.press(Key::Down, &board, 5));
    let lines = place.list(&board, "acme", HEIGHT, now);
    assert_eq!(marked(&lines), ["autumn"]);
    assert_eq!(lines[HEIGHT - 2].text, "autumn: nothing is sent: PAUSED");
}

#[test]
fn the_selected_campaign_is_always_on_the_screen() {
    let now = Instant::now();
    let board = board(many(30), now);
    let mut place = Place::default();
    let page = page(HEIGHT);
    for (key, expected) in [
        (Key::Down, "c01"),
        (Key::PageDown, "c06"),
        (Key::PageDown, "c11"),
        (Key::Up, "c10"),
        (Key::End, "c29"),
        (Key::Down, "c29"),
        (Key::PageUp, "c24"),
        (Key::Home, "c00"),
        (Key::Up, "c00"),
    ] {
        assert!(place.press(key, &board, page));
        let lines = place.list(&board, "acme", HEIGHT, now);
        assert_eq!((marked(&lines), lines.len()), (vec![expected], HEIGHT), "{key:?}");
        assert_eq!(lines.iter().filter(|line| line.text.get(2..3) == Some("c")).count(), page, "a page is full");
    }
    assert!(!place.press(Key::Quit, &board, page));
}

#[test]
fn a_campaign_is_shown_with_its_accounts_and_back_again() {
    let now = Instant::now();
    let board = board(many(3), now);
    let mut place = Place::default();
    assert_eq!(place.open(), None);
    place.press(Key::Enter, &board, 5);
    assert_eq!(place.open(), Some(name("c00").as_str()));
    let row = board.get(&name("c00")).unwrap();
    let loading = place.detail(row, None, 40, now);
    assert!(texts(&loading).contains(&"Loading the accounts"), "{loading:?}");
    let account = pb::CampaignAccount {
        account: "workspaces/acme/accounts/ann".into(),
        serving: true,
        ..pb::CampaignAccount::default()
    };
    let accounts = Ok(pb::ListCampaignAccountsResponse { accounts: vec![account], ..Default::default() });
    let lines = place.detail(row, Some(&accounts), 40, now);
    let all = texts(&lines).join("\n");
    for says in [
        "State        ACTIVE",
        "Delivery     0 % (0 of 2), LOW (not certain yet: 2 messages)",
        "Pace         -, ready in -",
        "c00 has 1 account.",
        "ann ",
    ] {
        assert!(all.contains(says), "{says}: {all}");
    }
    let failed = place.detail(row, Some(&Err("the service is away".into())), 40, now);
    assert!(texts(&failed).contains(&"The accounts can't be shown: the service is away"), "{failed:?}");

    // A small screen is scrolled, and not beyond its end.
    for _ in 0..50 {
        place.press(Key::Down, &board, 5);
        assert_eq!(place.detail(row, Some(&accounts), 10, now).len(), 10);
    }
    let end = place.detail(row, Some(&accounts), 10, now);
    assert!(end[8].text.is_empty() && end[7].text.starts_with("ann"), "{end:?}");
    place.press(Key::Home, &board, 5);
    let begin = place.detail(row, Some(&accounts), 10, now);
    assert!(begin[0].text.starts_with("Campaign") && begin[8].text.ends_with(" more below"), "{begin:?}");
    place.press(Key::Back, &board, 5);
    assert_eq!(place.open(), None);
}

#[test]
fn an_empty_workspace_says_so() {
    let now = Instant::now();
    let board = board(Vec::new(), now);
    let mut place = Place::default();
    for key in [Key::Down, Key::Enter, Key::End, Key::Redraw] {
        assert!(place.press(key, &board, 5));
    }
    assert_eq!(place.open(), None);
    let lines = place.list(&board, "acme", HEIGHT, now);
    assert!(texts(&lines).contains(&"There is no campaign. One that is created appears here."), "{lines:?}");
    assert!(marked(&lines).is_empty());
}

#[test]
fn long_ids_and_large_numbers_fit_into_80_columns() {
    let now = Instant::now();
    let long = format!("{}-end", "long-".repeat(45));
    let mut large = campaign(&long, pb::CampaignState::Finished, 8_999_999, 1_000_000);
    large.delivery_health = pb::DeliveryHealth::Moderate.into();
    let board = board(vec![large], now);
    let lines = Place::default().list(&board, "acme", HEIGHT, now);
    let table = &texts(&lines)[..HEIGHT - 2];
    assert!(table.iter().all(|line| line.chars().count() <= WIDTH), "{table:?}");
    assert!(table[4].contains("MODERATE?") && table[4].contains("-end"), "{table:?}");
}

#[test]
fn a_terminal_of_one_line_is_no_panic() {
    let now = Instant::now();
    let board = board(many(3), now);
    let mut place = Place::default();
    for height in 0..4 {
        place.list(&board, "acme", height, now);
        place.detail(board.get(&name("c01")).unwrap(), None, height, now);
    }
}
