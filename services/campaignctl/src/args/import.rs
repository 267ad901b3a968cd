//! The command line of an import.

use std::path::PathBuf;

use campaign_metrics::{flags::id, name::CampaignId};
use clap::{Args as ClapArgs, ValueEnum};
use encoding_rs::Encoding;

pub(super) const IMPORT_ABOUT: &str = "\
Imports leads from a CSV or JSON file into a campaign.

A CSV file begins with a header line. The column `id` is required, and the column `account` is optional; both are found in
any case of letters, and --id-column and --account-column name others. Cells are separated by commas, semicolons or tabs,
which is found out; a first line such as `sep=;` is understood. JSON is one object on each line (NDJSON) or an array of
objects: {\"id\": \"ann@example.org\", \"account\": \"mail-1\"}. If the account is missing or empty, the first claim assigns
one. Blanks around values are cut off. Other columns are not sent; the report lists them as ignored.

A file is UTF-8, or has a byte order mark (UTF-16), or --encoding says what it is. It may be packed by gzip, and be of any
size. In CSV a cell that holds a quote, delimiter or line break stands in quotes, with each of its quotes doubled.

An invalid line does not affect others: it is refused, and written with its number and the reason to FILE.refused.csv
(or .ndjson); the first ten are also shown at once. Repair it there and import that file. A line is refused only for what
touches the columns that are read; a stray quote refuses its line. Importing a lead again changes nothing, so an import
that failed can simply be run again. The report tells leads that existed before from those that the file repeats. It tells
of records that span several lines, and of ids such as 1.23457E+17: a spreadsheet has rounded them.";

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  campaignctl leads import leads.csv --campaign spring
      adds leads; more can follow later
  campaignctl leads import leads.csv --campaign spring --complete
      also lets the campaign finish automatically when every lead is sent or failed
  campaignctl leads import leads.csv.refused.csv --campaign spring --complete
      adds the lines that were refused, after they were repaired
  campaignctl leads import leads.csv --campaign spring --complete-anyway
      lets the campaign finish without the lines that were refused
  campaignctl leads import kontakte.csv --campaign spring --id-column E-Mail --encoding windows-1252
      takes the ids from the column E-Mail of a file that Excel saved
  zcat *.csv.gz | campaignctl leads import - --campaign spring
      reads the standard input

Exit codes:
  0  every lead was added or existed already
  1  failed; the error gives the reason, and running the import again is safe
  2  all lines were read, but some were refused; the lead list was not declared complete, unless --complete-anyway";

/// Leads to import.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// File to read; `-` is the standard input. A pipe, and a file packed by gzip, will do.
    pub file: PathBuf,
    /// Id of the campaign that gets the leads.
    #[arg(short, long, value_parser = id::<CampaignId>)]
    pub campaign: CampaignId,
    /// Declare the lead list complete if no line is refused.
    #[arg(long)]
    pub complete: bool,
    /// Declare the lead list complete although lines were refused: the campaign can finish without them.
    #[arg(long, conflicts_with = "complete")]
    pub complete_anyway: bool,
    /// File for refused lines [default: FILE.refused.csv or FILE.refused.ndjson; of a pipe, CAMPAIGN.refused.csv or
    /// CAMPAIGN.refused.ndjson in the current folder].
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Format of the file [default: from its extension, otherwise from its first character].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Column or field of the lead ids, in any case of letters.
    #[arg(long, value_name = "NAME", default_value = "id", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id_column: String,
    /// Column or field of the account ids, in any case of letters [default: account, if there is one]. An empty name: none.
    #[arg(long, value_name = "NAME")]
    pub account_column: Option<String>,
    /// Delimiter of CSV: a character, or `tab` [default: the comma, semicolon or tab of the header].
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// Encoding of the file, such as windows-1252, utf-16le or shift_jis [default: UTF-8]. A byte order mark wins.
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    pub encoding: Option<&'static Encoding>,
}

/// Format of a file of leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Cells separated by commas, semicolons or tabs, with a header line.
    Csv,
    /// One JSON object per line.
    Ndjson,
    /// A JSON array of objects.
    Json,
}

/// Parses a delimiter. It can't be a part of an id, of an account or of a quoted cell.
fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if b",;|:\t!#$%&/*^".contains(byte) => Ok(*byte),
        _ => Err("a delimiter is one of , ; | : ! # $ % & / * ^ or tab".to_owned()),
    }
}

/// Parses the name of an encoding.
fn encoding(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label_no_replacement(name.as_bytes())
        .ok_or_else(|| "an encoding is named as in web pages: utf-8, windows-1252, utf-16le, iso-8859-2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_and_encodings_have_names() {
        assert_eq!(
            (delimiter(";"), delimiter("tab"), delimiter("\\t"), delimiter("\t")),
            (Ok(b';'), Ok(9), Ok(9), Ok(9))
        );
        for text in ["", ";;", "a", "\"", "-", "@", "ö", "\n"] {
            assert!(delimiter(text).unwrap_err().contains("or tab"), "{text}");
        }
        for (name, expected) in [("latin1", "windows-1252"), ("UTF-16LE", "UTF-16LE"), ("utf8", "UTF-8")] {
            assert_eq!(encoding(name).map(Encoding::name), Ok(expected));
        }
        assert!(encoding("ebcdic").unwrap_err().contains("windows-1252"));
    }
}
