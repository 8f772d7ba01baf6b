"""The product on Socket.IO: who may connect, who may send which event, and the events themselves."""
