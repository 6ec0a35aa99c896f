//! Engine.
use super::local::{Core, Engine, Start};
use crate::{
    error::Error,
    identity::{Handle, Token},
    port::Shared,
};
use std::{sync::Arc, time::Duration};

pub(crate) struct Ring {}
pub(crate) fn probe() -> Result<String, String> {
    Err("not written".into())
}
impl Ring {
    pub(crate) fn new(_: &Arc<Shared>, _: usize) -> Result<Self, Error> {
        Ok(Self {})
    }
}
impl Engine for Ring {
    fn start(&mut self, _: &mut Core, _: Token) -> Start {
        Start::OnPool
    }
    fn cancel(&mut self, _: &mut Core, _: Token) {}
    fn adopt(&mut self, _: &mut Core, _: Handle) -> Result<(), Error> {
        Ok(())
    }
    fn release(&mut self, _: &mut Core, _: Handle) {}
    fn wait(&mut self, _: &mut Core, _: Option<Duration>) -> Result<(), Error> {
        Ok(())
    }
    fn leak(&mut self) {}
}
