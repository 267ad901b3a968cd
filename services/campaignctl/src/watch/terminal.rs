//! The terminal as a full screen. It is restored when the guard is dropped, also by a panic.

use std::{
    io::{self, Stdout, Write as _, stdout},
    panic,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue,
    style::{Attribute, Print, SetAttribute},
    terminal::{
        Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
        disable_raw_mode, enable_raw_mode, size,
    },
};

use super::screen::{Key, Line};

/// The screen, until it is dropped.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
}

impl Screen {
    /// Takes over the terminal.
    pub fn open() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The message of the panic would be lost with the alternate screen.
            restore();
            before(info);
        }));
        enable_raw_mode()?;
        let mut screen = Self { out: stdout() };
        execute!(screen.out, EnterAlternateScreen, DisableLineWrap, Hide)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub fn size() -> (usize, usize) {
        size().map_or((80, 24), |(width, height)| (width.into(), height.into()))
    }

    /// Draws all lines of a screen. Lines are overwritten in place, so that nothing flickers.
    pub fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let (width, height) = Self::size();
        for (place, line) in lines.iter().take(height).enumerate() {
            let text: String = line.text.chars().take(width).collect();
            queue!(self.out, MoveTo(0, u16::try_from(place).unwrap_or(u16::MAX)))?;
            if line.is_marked {
                // Reversed instead of coloured; the line also begins with a mark.
                queue!(self.out, SetAttribute(Attribute::Reverse))?;
            }
            queue!(self.out, Print(text), SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
        }
        if lines.len() < height {
            queue!(
                self.out,
                MoveTo(0, u16::try_from(lines.len()).unwrap_or(u16::MAX)),
                Clear(ClearType::FromCursorDown)
            )?;
        }
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. Errors can't be shown any more.
fn restore() {
    drop(disable_raw_mode());
    drop(execute!(stdout(), Show, EnableLineWrap, LeaveAlternateScreen));
}

/// Translates an event of the terminal; `None` for one that means nothing here.
pub fn key(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else {
        return matches!(event, Event::Resize(..)).then_some(Key::Redraw);
    };
    if *kind == KeyEventKind::Release {
        return None;
    }
    Some(match code {
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('l') if modifiers.contains(KeyModifiers::CONTROL) => Key::Redraw,
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown | KeyCode::Char(' ') => Key::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Key::Home,
        KeyCode::End | KeyCode::Char('G') => Key::End,
        KeyCode::Enter | KeyCode::Right => Key::Enter,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Key::Back,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_last_line_says() {
        let pressed = |code, modifiers| key(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |code| pressed(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Enter), Some(Key::Enter));
        assert_eq!(plain(KeyCode::Esc), Some(Key::Back));
        assert_eq!(plain(KeyCode::Char('q')), Some(Key::Quit));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(plain(KeyCode::Down), Some(Key::Down));
        assert_eq!(key(&Event::Resize(80, 24)), Some(Key::Redraw));
        let mut release = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        release.kind = KeyEventKind::Release;
        assert_eq!(key(&Event::Key(release)), None);
    }
}
