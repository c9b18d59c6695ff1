//! Whole connections: sessions, rooms and a model of the store, driven by a plan that is read from
//! the input.
//!
//! [`messages`] says what clients send, [`store`] is what the rooms write to and read from, [`world`]
//! ties them together as the server's tasks do, [`steps`] says what a plan can do, and [`checks`]
//! what must hold. Everything runs in one thread, so an input always does the same.

mod checks;
mod events;
mod messages;
mod steps;
mod store;
mod world;

use crate::input::Input;

use world::World;

/// Steps of one plan: more are only slower.
const STEPS_MAX: usize = 512;

/// A plan of steps; see the module of that name.
pub fn connection(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.check_step();
    }
    world.come_to_rest();
    world.check_rest();
}
