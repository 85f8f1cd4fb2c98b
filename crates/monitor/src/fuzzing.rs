//! What is done with foreign bytes in search of a crash or a broken promise: by the fuzz target
//! (`fuzz/`), and on a small scale by the property tests of the protocol.

use crate::protocol::{Reply, Request};

/// A frame in either direction: what is understood is written as what it was read from.
pub fn frame(data: &[u8]) {
    if let Ok((number, request)) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode(number)), Ok((number, request)));
    }
    if let Ok(reply) = Reply::decode(data) {
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}
