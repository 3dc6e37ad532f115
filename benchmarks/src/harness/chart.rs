//! Tables as a picture: a bar a row, with the range of its rounds.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::harness::text::{number, unit};
use crate::{Role, Row, Table};

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

const WIDTH: i32 = 1_100;
const LABELS: i32 = 400;
const BARS: i32 = 480;
const LINE: i32 = 24;
const HEAD: i32 = 44;

/// Draws all tables, one below the other.
pub(crate) fn draw(path: &Path, title: &str, below: &str, tables: &[Table]) -> Drawn {
    let height: i32 = tables.iter().map(|table| HEAD + LINE * table.rows.len() as i32 + 16).sum();
    let area = SVGBackend::new(path, (WIDTH as u32, (height + 70) as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    write(&area, title, (16, 24), 20, HPos::Left, &BLACK)?;
    write(&area, below, (16, 46), 11, HPos::Left, &GREY)?;
    let mut top = 60;
    for table in tables {
        panel(&area, table, top)?;
        top += HEAD + LINE * table.rows.len() as i32 + 16;
    }
    area.present()?;
    Ok(())
}

const GREY: RGBColor = RGBColor(110, 110, 110);

fn panel(area: &Area<'_>, table: &Table, top: i32) -> Drawn {
    let scale = Scale::of(table);
    let shape = if scale.logarithmic { ", logarithmic" } else { "" };
    write(area, &format!("{} [{}{shape}]", table.title, unit(table.unit)), (16, top + 22), 15, HPos::Left, &BLACK)?;
    for (place, row) in table.rows.iter().enumerate() {
        bar(area, row, &scale, top + HEAD + LINE * place as i32)?;
    }
    Ok(())
}

fn bar(area: &Area<'_>, row: &Row, scale: &Scale, top: i32) -> Drawn {
    let ((least, greatest), middle) = (row.range(), top + 9);
    let end = scale.place(row.median());
    write(area, &row.name, (LABELS - 10, middle), 13, HPos::Right, &BLACK)?;
    area.draw(&Rectangle::new([(LABELS, top), (end, top + 18)], colour(row.role).filled()))?;
    area.draw(&PathElement::new([(scale.place(least), middle), (scale.place(greatest), middle)], BLACK))?;
    for edge in [least, greatest] {
        area.draw(&PathElement::new([(scale.place(edge), middle - 4), (scale.place(edge), middle + 4)], BLACK))?;
    }
    write(area, &number(row.median()), (scale.place(greatest).max(end) + 8, middle), 13, HPos::Left, &BLACK)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, side: HPos, colour: &RGBColor) -> Drawn {
    let style = ("sans-serif", size).into_font().color(colour).pos(Pos::new(side, VPos::Center));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}

fn colour(role: Role) -> RGBColor {
    match role {
        Role::Limit => RGBColor(170, 170, 170),
        Role::Grange => RGBColor(38, 120, 178),
        Role::Peer => RGBColor(222, 150, 60),
    }
}

/// Where a figure is on the line.
struct Scale {
    least: f64,
    greatest: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(table: &Table) -> Self {
        let ranges = table.rows.iter().map(Row::range);
        let (least, greatest) = ranges
            .fold((f64::INFINITY, 0.0_f64), |(least, greatest), (low, high)| (least.min(low), greatest.max(high)));
        let logarithmic = least > 0.0 && greatest / least > 50.0;
        Self { least: least / 2.0, greatest, logarithmic }
    }

    fn place(&self, value: f64) -> i32 {
        let share = match self.logarithmic {
            true => (value / self.least).ln() / (self.greatest / self.least).ln(),
            false => value / self.greatest,
        };
        LABELS + (share.clamp(0.0, 1.0) * f64::from(BARS)) as i32
    }
}
