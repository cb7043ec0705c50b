//! Forms as a browser reads them: enough HTML for pages that need no script.

/// A form of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) method: String,
    /// What is sent whichever button is pressed, in order.
    pub(crate) fields: Vec<(String, String)>,
    /// Name and value of every button that has a name.
    pub(crate) buttons: Vec<(String, String)>,
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    fn pair(&self) -> Option<(String, String)> {
        Some((
            self.get("name")?.to_owned(),
            self.get("value").unwrap_or_default().to_owned(),
        ))
    }
}

/// Every form of the page.
pub(crate) fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut open = false;
    let mut select: Option<String> = None;
    for tag in tags(html) {
        match (tag.name.as_str(), forms.last_mut()) {
            ("form", _) => {
                open = true;
                forms.push(Form {
                    action: tag.get("action").unwrap_or_default().to_owned(),
                    method: tag.get("method").unwrap_or("get").to_ascii_lowercase(),
                    fields: Vec::new(),
                    buttons: Vec::new(),
                });
            }
            ("/form", _) => open = false,
            ("input", Some(form)) if open => {
                let kind = tag.get("type").unwrap_or("text");
                let sent = !matches!(kind, "checkbox" | "radio") || tag.get("checked").is_some();
                match (kind, tag.pair()) {
                    ("submit", Some(pair)) => form.buttons.push(pair),
                    (_, Some(pair)) if sent => form.fields.push(pair),
                    _ => {}
                }
            }
            ("button", Some(form)) if open => form.buttons.extend(tag.pair()),
            ("select", _) => select = tag.get("name").map(str::to_owned),
            ("option", Some(form)) if open => {
                if let Some(name) = select.take() {
                    form.fields
                        .push((name, tag.get("value").unwrap_or_default().to_owned()));
                }
            }
            _ => {}
        }
    }
    forms
}

/// The text of the element with this id, up to the next tag.
pub(crate) fn text_of(html: &str, id: &str) -> Option<String> {
    let (_, rest) = html.split_once(&format!("id=\"{id}\""))?;
    let (_, rest) = rest.split_once('>')?;
    Some(unescape(rest.split('<').next()?))
}

fn tags(html: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = read_tag(after);
        rest = after;
        let is_script = tag.name == "script" || tag.name == "style";
        let end = format!("</{}", tag.name);
        tags.push(tag);
        if is_script && let Some(at) = rest.find(&end) {
            rest = &rest[at..];
        }
    }
    tags
}

fn read_tag(text: &str) -> (Tag, &str) {
    let end = text
        .find(|c: char| c.is_whitespace() || c == '>')
        .unwrap_or(text.len());
    let mut tag = Tag {
        name: text[..end].to_ascii_lowercase(),
        attributes: Vec::new(),
    };
    let mut rest = text[end..].trim_start();
    while !rest.is_empty() && !rest.starts_with('>') {
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=' || c == '>')
            .unwrap_or(rest.len());
        let name = rest[..end.max(1)].to_ascii_lowercase();
        rest = rest[end.max(1).min(rest.len())..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            (value, rest) = read_value(after.trim_start());
        }
        tag.attributes.push((name, unescape(value)));
        rest = rest.trim_start();
    }
    (tag, rest.strip_prefix('>').unwrap_or(rest))
}

fn read_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    text.split_at(
        text.find(|c: char| c.is_whitespace() || c == '>')
            .unwrap_or(text.len()),
    )
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
}
