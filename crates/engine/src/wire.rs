//! What goes over a connection: messages, their two framings, errors and close codes.
//!
//! A client speaks either **binary** frames (a 13-byte header, then a JSON object) or **JSON**
//! text. Which one is found out frame by frame, and answers follow the last frame heard.

pub mod close;
mod decode;
mod encode;
pub mod error;
pub mod frame;
mod members;
pub mod message;

pub use close::CloseCode;
pub use decode::decode;
pub use encode::{Outgoing, encode, encode_answer_end, encode_answer_start};
pub use error::{ErrorCode, ErrorReply};
pub use frame::{FrameKind, Framing, MessageType};
pub use message::{ClientMessage, Edit, Incoming, Operation, ServerMessage};
