//! What the tests share: processes that end with the test, ports, clients.
