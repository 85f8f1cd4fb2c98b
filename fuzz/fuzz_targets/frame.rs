//! A frame of the monitor's protocol, in either direction: written and read again it is the same.
#![no_main]

use berth_monitor::protocol::{Reply, Request};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok((number, request)) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode(number)), Ok((number, request)));
    }
    if let Ok(reply) = Reply::decode(data) {
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
});
