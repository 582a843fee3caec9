//! The message bus: subjects, inboxes, last values, queue groups and requests.
