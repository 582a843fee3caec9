//! Rates and spreads in, quotes out.
