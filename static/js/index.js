// SPDX-License-Identifier: Apache-2.0
// The front page: guests see the sign-in form beside the catalogue.
import { me } from "./api.js";
import "./browse.js";
import "./auth.js";
import { $ } from "./ui.js";

me().then((user) => { $("#hero").hidden = !!user; });
