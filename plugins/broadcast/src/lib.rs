//! Quotes to every connected client, over Socket.IO, WebSocket and SSE.
