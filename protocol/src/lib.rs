//! Types, bytes, signatures, limits and money rules of the Ion network.
