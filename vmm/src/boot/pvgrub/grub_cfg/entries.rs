//! Runs the commands of entries, which tells what each would load and save.

use super::super::menu::{ENTRY_LIMIT, Entry, Menu, Obstacle, Save};
use super::budget::Exhausted;
use super::interpreter::Interpreter;
use super::{Body, Item, Items};

/// The deepest nesting of submenus.
const DEPTH_LIMIT: usize = 4;

/// What a submenu, or the menu itself, hands on to its entries.
struct Parent<'a, 'v> {
    /// The script as it was when it had run.
    script: &'a Interpreter<'v>,
    place: &'a str,
    /// `$chosen`, as a submenu's own.
    chosen: &'a str,
    depth: usize,
    saves: &'a [Save],
}

/// Runs all entries of the menu that `top` has made.
pub(super) fn run_all(top: &mut Interpreter<'_>) -> Menu {
    let mut menu = Menu::default();
    let items = std::mem::take(&mut top.items);
    let saves = std::mem::take(&mut top.saves);
    let parent = Parent {
        script: top,
        place: "",
        chosen: "",
        depth: 0,
        saves: &saves,
    };
    flatten(items, &parent, &mut menu);
    menu
}

/// Puts what comes of `items` into `menu`, entries of submenus after the entry that leads to them.
fn flatten(items: Items, parent: &Parent<'_, '_>, menu: &mut Menu) {
    for (nth, item) in items.0.into_iter().enumerate() {
        if menu.entries.len() >= ENTRY_LIMIT {
            return;
        }
        let place = below(parent.place, &nth.to_string());
        let name = item.id.as_ref().unwrap_or(&item.title).replace('>', ">>");
        let chosen = below(parent.chosen, &name);
        let mut entry = Entry {
            place: place.clone(),
            title: item.title.clone(),
            id: item.id.clone(),
            ..Entry::default()
        };
        let script = match run(item, parent, &chosen, &mut entry) {
            Ok(script) => script,
            Err(Exhausted) => {
                let reason = "it does more than any sound one".into();
                entry.obstacle = Some(Obstacle::Unfinished(reason));
                None
            }
        };
        let Some(mut script) = script else {
            menu.entries.push(entry);
            continue;
        };
        let nested = std::mem::take(&mut script.items);
        let saves = entry.saves.clone();
        menu.entries.push(entry);
        let depth = parent.depth.saturating_add(1);
        if depth <= DEPTH_LIMIT {
            let parent = Parent {
                script: &script,
                place: &place,
                chosen: &chosen,
                depth,
                saves: &saves,
            };
            flatten(nested, &parent, menu);
        }
    }
}

/// Runs one entry's commands in a copy of what its menu left, and fills in `entry`.
fn run<'v>(
    item: Item,
    parent: &Parent<'_, 'v>,
    chosen: &str,
    entry: &mut Entry,
) -> Result<Option<Interpreter<'v>>, Exhausted> {
    let above = parent.script;
    let saves = parent.saves.iter().map(Save::len).fold(0, usize::saturating_add);
    above.budget.spend_bytes(saves)?;
    let (body, parameters) = match item.body {
        Body::Ready(ready) => {
            let place = std::mem::take(&mut entry.place);
            let saves = parent.saves.to_vec();
            *entry = Entry {
                place,
                saves,
                ..*ready
            };
            return Ok(None);
        }
        Body::Script(body, parameters) => (body, parameters),
    };
    above.budget.spend_bytes(above.environment.len())?;
    let mut script = Interpreter::new(above.volumes, above.home, above.budget, above.environment.clone());
    script.environment.parameters = parameters;
    script.environment.set("chosen", chosen)?;
    script.saves = parent.saves.to_vec();
    script.nested(&body)?;
    let loaded = std::mem::take(&mut script.loaded);
    entry.root = loaded.root;
    entry.kernel = loaded.kernel;
    entry.arguments = loaded.arguments;
    entry.initrds = loaded.initrds;
    entry.obstacle = loaded.obstacle;
    entry.saves = std::mem::take(&mut script.saves);
    Ok(Some(script))
}

/// `above>own`, or `own` in the menu itself.
fn below(above: &str, own: &str) -> String {
    match above {
        "" => own.into(),
        above => format!("{above}>{own}"),
    }
}
