//! What tests and benchmarks need around the server: PostgreSQL and its standbys, PgBouncer, Redis, broken networks, free
//! ports and server processes.
//!
//! A missing back end is a failure with a text that says what to install, never a skipped test: a
//! skipped durability test looks exactly like a passing one.
//!
//! Nothing here knows the protocol or the other crates; a server is a binary with arguments.

mod child;
mod error;
mod fault_proxy;
mod port;
mod postgres;
mod redis;
mod redis_proxy;
mod server_process;
mod service;

pub use error::Error;
pub use fault_proxy::FaultProxy;
pub use port::free_port;
pub use postgres::{Database, POSTGRES_VARIABLE, PgBouncer, Postgres, ServerTls};
pub use redis::{REDIS_VARIABLE, Redis, RedisCluster, RedisSentinels};
pub use redis_proxy::{MessageDirection, PassingMessage, RedisProxy, Verdict};
pub use server_process::{Finished, ServerCommand, ServerProcess};
