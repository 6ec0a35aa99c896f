//! Operations that wait on a descriptor of their own.

use super::{Poll, Readiness, Turn};
use crate::{
    backend::local::{Core, Next},
    error::Error,
    identity::Token,
};
use std::collections::HashMap;

/// Keys of such descriptors have this bit, which is beyond every handle; the rest is the index of the operation.
const OWN: u32 = 1 << 31;

/// The operations that the poller knows by descriptors of their own. While the pool walks for one, it is not among them.
#[derive(Default)]
pub(super) struct Awaited(HashMap<u32, Wait>);

struct Wait {
    token: Token,
    /// It stands in the list of turns.
    listed: bool,
}

impl Awaited {
    /// Takes in what the poller told, if it is of one of these. Returns the operation that has to be tried, if it is not about to be.
    pub(super) fn note(&mut self, event: &Readiness) -> Option<Option<Token>> {
        let index = event.key.checked_sub(OWN)?;
        let news = self.0.get_mut(&index).filter(|wait| !wait.listed);
        Some(news.map(|wait| {
            wait.listed = true;
            wait.token
        }))
    }

    /// The operation has its turn.
    pub(super) fn turns(&mut self, token: Token) {
        if let Some(wait) = self.find(token) {
            wait.listed = false;
        }
    }

    /// The operation waits for its turn.
    pub(super) fn lists(&mut self, token: Token) {
        if let Some(wait) = self.find(token) {
            wait.listed = true;
        }
    }

    fn find(&mut self, token: Token) -> Option<&mut Wait> {
        self.0.get_mut(&token.index()).filter(|wait| wait.token == token)
    }
}

impl Poll {
    /// Takes notices, and awaits more.
    pub(super) fn notices(&mut self, core: &mut Core, token: Token) -> Turn {
        let kind = core.slot(token).kind;
        if let Err(error) = core.open_notices(token) {
            core.complete_with_body(token, Err(error));
            return Turn::Over;
        }
        if self.awaited.find(token).is_none() {
            if let Err(error) = self.poller.add(core.notices(token).as_fd(), OWN | token.index()) {
                return self.finish(core, token, Err(Error::from_io(&error, kind)));
            }
            self.awaited.0.insert(token.index(), Wait { token, listed: false });
        }
        match core.take_notices(token) {
            Next::Again => Turn::Later,
            #[cfg(target_os = "linux")]
            Next::Walk => {
                self.stop_awaiting(core, token);
                Turn::OnPool
            }
            Next::End(result) => self.finish(core, token, result),
            Next::Wait if self.poller.has_edges() => Turn::Over,
            Next::Wait => {
                let descriptor = core.notices(token).as_fd();
                match self.poller.arm(descriptor, OWN | token.index(), true, false) {
                    Ok(()) => Turn::Over,
                    Err(error) => self.finish(core, token, Err(Error::from_io(&error, kind))),
                }
            }
        }
    }

    /// The poller forgets the operation's descriptor, before that is closed or handed to the pool.
    pub(super) fn stop_awaiting(&mut self, core: &Core, token: Token) {
        if self.awaited.find(token).is_some() {
            self.poller.delete(core.notices(token).as_fd());
            self.awaited.0.remove(&token.index());
        }
    }
}
