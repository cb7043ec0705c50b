//! `riley-auth man`: the manual page.

pub(super) fn run() -> anyhow::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(super::command()).render(&mut page)?;
    super::print(&String::from_utf8(page)?)
}
