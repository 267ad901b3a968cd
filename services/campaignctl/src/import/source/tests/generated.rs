//! Random tables as other programs write them, and as hands damage them. What is not damaged is added, what is damaged is
//! told by its line, and each line is one or the other.
//!
//! The writer here knows nothing of the reader: it quotes as Python's `csv` does (QUOTE_MINIMAL, QUOTE_ALL,
//! QUOTE_NONNUMERIC), and marks, separates and ends lines as spreadsheets do.

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::*;

/// How cells are quoted, by the names of Python's `csv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Minimal,
    All,
    NonNumeric,
}

/// What a program does with empty cells at the end of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    Kept,
    Dropped,
    /// More of them behind each row, and a row of empty cells behind the table.
    Added,
}

/// How a program writes tables.
#[derive(Debug, Clone, Copy)]
struct Habit {
    quoting: Quoting,
    delimiter: char,
    ends: &'static str,
    /// A first line `sep=;`.
    names_delimiter: bool,
    empty: Empty,
    encoding: Option<&'static Encoding>,
    has_mark: bool,
}

impl Habit {
    fn random(random: &mut StdRng) -> Self {
        let encoding = *[None, None, Some(WINDOWS_1252), Some(UTF_16LE), Some(UTF_16BE)].choose(random).unwrap();
        Self {
            quoting: *[Quoting::Minimal, Quoting::All, Quoting::NonNumeric].choose(random).unwrap(),
            delimiter: *[',', ';', '\t'].choose(random).unwrap(),
            ends: ["\n", "\r\n", "\r"].choose(random).unwrap(),
            names_delimiter: random.random_bool(0.3),
            empty: *[Empty::Kept, Empty::Dropped, Empty::Added].choose(random).unwrap(),
            encoding,
            has_mark: random.random_bool(0.5),
        }
    }

    fn cell(&self, text: &str) -> String {
        let is_special =
            text.contains([self.delimiter, '"', '\r', '\n']) || (text.starts_with("sep=") && self.names_delimiter);
        let is_quoted = match self.quoting {
            Quoting::Minimal => is_special,
            Quoting::All => true,
            Quoting::NonNumeric => text.is_empty() || text.parse::<f64>().is_err(),
        };
        if is_quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    }

    fn row(&self, cells: &[String]) -> String {
        let kept = match cells.iter().rposition(|cell| !cell.is_empty()) {
            Some(last) if self.empty == Empty::Dropped => &cells[..=last],
            _ => cells,
        };
        let mut row: Vec<String> = kept.iter().map(|cell| self.cell(cell)).collect();
        if self.empty == Empty::Added {
            row.extend([String::new(), String::new()]);
        }
        row.join(&self.delimiter.to_string())
    }

    /// The bytes of a text, and the encoding that a person has to name.
    fn encode(&self, text: &str) -> (Vec<u8>, Option<&'static Encoding>) {
        let units = |unit: fn(u16) -> [u8; 2], mark: &[u8; 2]| {
            let mark = if self.has_mark { &mark[..] } else { &[] };
            mark.iter().copied().chain(text.encode_utf16().flat_map(unit)).collect()
        };
        let named = self.encoding.filter(|_| !self.has_mark);
        match self.encoding {
            Some(encoding) if encoding == UTF_16LE => (units(u16::to_le_bytes, b"\xff\xfe"), named),
            Some(encoding) if encoding == UTF_16BE => (units(u16::to_be_bytes, b"\xfe\xff"), named),
            // Whether it is named or not: only texts that are not read have such characters.
            Some(encoding) => (encoding.encode(text).0.into_owned(), named),
            None if self.has_mark => ([b"\xef\xbb\xbf", text.as_bytes()].concat(), None),
            None => (text.as_bytes().to_vec(), None),
        }
    }
}

/// A row of a file: its text, and the lead that it gives. `None`: it must be refused.
struct Row {
    text: String,
    lead: Option<String>,
}

/// A text that people write. It may hold what has to be quoted.
fn text(random: &mut StdRng, habit: &Habit) -> String {
    let words = [
        "",
        "Jürgen",
        "Zoë & Söhne",
        "a, b; c\td",
        "say \"hi\"",
        "\"",
        "5\" pipe",
        "sep=;",
        "7",
        "1.5",
        "x y",
        "—",
        "\u{1b}[31m",
    ];
    let mut text: String = (*words.choose(random).unwrap()).to_owned();
    // A row of several lines from which cells were dropped looks like one with a stray quote. A text whose first line is
    // empty, or one quote, closes a stray quote before it, and the result is a row like any other.
    if habit.empty != Empty::Dropped && !text.is_empty() && !text.starts_with('"') && random.random_bool(0.1) {
        text += &[habit.ends, "two words", habit.ends, "three more words"].concat();
    }
    text
}

/// A table with columns in random order. Some of its rows are damaged.
fn table(random: &mut StdRng, habit: &Habit) -> (String, Vec<Row>) {
    let mut columns = vec!["Name", "ID", "Notes", "Stadt"];
    if random.random_bool(0.5) {
        columns.push("account");
    }
    for index in (1..columns.len()).rev() {
        columns.swap(index, random.random_range(0..=index));
    }
    let place = |name: &str| columns.iter().position(|column| *column == name);
    let (id, account) = (place("ID").unwrap(), place("account"));
    let header = habit.row(&columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>());
    let mut rows = Vec::new();
    for number in 0..random.random_range(0..40) {
        let mut cells: Vec<String> = columns.iter().map(|_| text(random, habit)).collect();
        cells[id] = format!("lead-{number}@example.com");
        let bound = *["", "mail-1", "mail-2"].choose(random).unwrap();
        if let Some(account) = account {
            cells[account] = bound.to_owned();
        }
        let lead = format!("{}/{}", cells[id], if account.is_some() { bound } else { "" });
        // What is dropped at the end may be the account: then nothing says that there is none.
        let is_dropped = |cells: &[String]| {
            let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
            habit.empty == Empty::Dropped && account.is_some_and(|account| account > last)
        };
        if random.random_bool(0.7) {
            let lead = Some(lead).filter(|_| !is_dropped(&cells));
            rows.push(Row { text: habit.row(&cells), lead });
            continue;
        }
        rows.push(damaged(random, habit, cells, (id, account), lead));
    }
    (header, rows)
}

/// A row that a hand damaged.
fn damaged(
    random: &mut StdRng,
    habit: &Habit,
    mut cells: Vec<String>,
    (id, account): (usize, Option<usize>),
    lead: String,
) -> Row {
    let delimiter = habit.delimiter.to_string();
    let plain = |cells: &[String]| cells.join(&delimiter);
    let is_read = |index: usize| index == id || Some(index) == account;
    for (index, cell) in cells.iter_mut().enumerate() {
        if !is_read(index) && (cell.is_empty() || cell.contains([',', ';', '\t', '"', '\r', '\n'])) {
            *cell = format!("x{index}");
        }
    }
    // The texts before the last column that is read: a delimiter too many in one of them moves that column.
    let last_read = id.max(account.unwrap_or_default());
    let texts: Vec<usize> = (0..last_read).filter(|index| !is_read(*index)).collect();
    match random.random_range(0..6) {
        0 => {
            cells[id] = ["sp ace", "", "ö@example.com", "a/b", "nul\0"].choose(random).unwrap().to_string();
            Row { text: habit.row(&cells), lead: None }
        }
        1 => {
            // A lone quote at the beginning of a cell.
            let place = random.random_range(0..cells.len());
            cells[place].insert(0, '"');
            Row { text: plain(&cells), lead: None }
        }
        2 => {
            // Text behind a closing quote.
            let place = random.random_range(0..cells.len());
            cells[place] = format!("\"{}\"x", cells[place]);
            Row { text: plain(&cells), lead: None }
        }
        3 => {
            // The row ends before its id, or within what stands before it.
            cells.truncate(id);
            for cell in &mut cells {
                cell.insert(0, 'y');
            }
            let lead = None;
            if cells.is_empty() { Row { text: "sp ace".to_owned(), lead } } else { Row { text: plain(&cells), lead } }
        }
        // A row whose last cell is empty would have as many cells as the header.
        4 if !texts.is_empty() && cells.last().is_some_and(|cell| !cell.is_empty()) => {
            cells[*texts.choose(random).unwrap()].extend([&delimiter, "z"]);
            Row { text: plain(&cells), lead: None }
        }
        // Blanks around values are no damage.
        _ => {
            cells[id] = format!("  {} ", cells[id]);
            Row { text: plain(&cells), lead: Some(lead) }
        }
    }
}

fn write(header: &str, rows: &[Row], habit: &Habit, random: &mut StdRng) -> (String, Vec<(u64, Option<String>)>) {
    let (mut text, mut line, mut expected) = (String::new(), 1, Vec::new());
    let breaks = |text: &str| text.matches(habit.ends).count() as u64;
    let mut push = |row: &str, line: &mut u64| {
        text += row;
        text += habit.ends;
        *line += breaks(row) + 1;
    };
    if habit.names_delimiter {
        push(&format!("sep={}", habit.delimiter), &mut line);
    }
    push(header, &mut line);
    for row in rows {
        if random.random_bool(0.1) {
            push("", &mut line);
        }
        expected.push((line, row.lead.clone()));
        push(&row.text, &mut line);
    }
    if habit.empty == Empty::Added {
        push(&habit.delimiter.to_string().repeat(4), &mut line);
    } else if random.random_bool(0.5) {
        text.truncate(text.len() - habit.ends.len());
    }
    (text, expected)
}

#[test]
fn of_every_table_each_line_is_added_or_told_and_what_is_not_damaged_is_added() {
    let (mut added, mut told, mut unclear) = (0, 0, 0);
    for seed in 0..4000 {
        let mut random = StdRng::seed_from_u64(seed);
        let habit = Habit::random(&mut random);
        let (header, rows) = table(&mut random, &habit);
        let (text, expected) = write(&header, &rows, &habit, &mut random);
        let (bytes, encoding) = habit.encode(&text);
        let input = input(Cursor::new(bytes), None, encoding).unwrap();
        let mut source = Source::new(input, Some(Format::Csv), &Names::default(), None)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}: {text:?}"));
        let mut seen = Vec::new();
        while let Some(chunk) = source.chunk().unwrap() {
            seen.extend(chunk.records.into_iter().map(|record| (record.line, record.lines, record.lead)));
        }
        let mut leads = 0;
        for (line, lead) in &expected {
            let of_line: Vec<_> =
                seen.iter().filter(|(first, lines, _)| (*first..first + lines).contains(line)).collect();
            let [(first, _, outcome)] = of_line[..] else {
                panic!("seed {seed}: line {line} shows {} times: {text:?}: {seen:?}", of_line.len());
            };
            match (lead, outcome) {
                (Some(lead), Ok(found)) => {
                    assert_eq!(
                        (lead, line),
                        (&format!("{}/{}", found.lead_id, found.account_id), first),
                        "seed {seed}"
                    );
                    leads += 1;
                }
                // Behind a stray quote: a row from which cells were dropped, or the next one, whose quote closes it.
                (Some(_), Err(reason))
                    if habit.empty == Empty::Dropped && reason.starts_with("follows a stray quote") =>
                {
                    unclear += 1;
                }
                (None, Err(_)) => told += 1,
                (Some(lead), Err(reason)) => {
                    panic!("seed {seed}: line {line}, {lead}, is refused: {reason}: {text:?}: {seen:?}")
                }
                (None, Ok(found)) => panic!("seed {seed}: line {line} gives {found:?}: {text:?}: {seen:?}"),
            }
        }
        assert_eq!(
            seen.iter().filter(|(_, _, lead)| lead.is_ok()).count(),
            leads,
            "seed {seed}: no other leads: {text:?}"
        );
        added += leads;
    }
    assert!(
        added > 50_000 && told > 15_000 && unclear < 500,
        "{added} added, {told} told, {unclear} told for a neighbour"
    );
}
