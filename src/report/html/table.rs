//! Tables as HTML.

use super::text::escape;

/// A table: a head and rows of texts. The first column is a name.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(caption: &str, head: &[&str]) -> Self {
        Table {
            caption: caption.to_owned(),
            head: head.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn html(&self) -> String {
        let mut html = String::from("<div class=\"scroll\" tabindex=\"0\"><table>");
        if !self.caption.is_empty() {
            html.push_str(&format!("<caption>{}</caption>", escape(&self.caption)));
        }
        html.push_str("<thead><tr>");
        for name in &self.head {
            html.push_str(&format!("<th scope=\"col\">{}</th>", escape(name)));
        }
        html.push_str("</tr></thead><tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (index, cell) in row.iter().enumerate() {
                match index {
                    0 => html.push_str(&format!("<th scope=\"row\">{}</th>", escape(cell))),
                    _ => html.push_str(&format!("<td>{}</td>", escape(cell))),
                }
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>");
        html
    }
}
