mod asking;
mod link;
mod protocol;
mod sealed;
mod standing;
mod store;
