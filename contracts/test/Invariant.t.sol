// SPDX-License-Identifier: Apache-2.0
// Any sequence of payments, refusals, blocks, withdrawals, pauses, rotations, rescues and replays keeps the books.
pragma solidity 0.8.37;

import {PPVSplitter} from "../src/PPVSplitter.sol";
import {Base, Till} from "./Base.sol";
import {DollarToken, LyingToken, PlainToken} from "./Tokens.sol";

/// Does one random thing a call, and keeps its own books. Nothing it does may revert unless it says so.
contract Handler is Base {
    address[3] public tokens;
    Till[4] public tills;
    LyingToken private moody;
    uint256 private signerKey = SIGNER;
    bytes[] private paid;
    bytes32[] public paidId;

    mapping(address token => uint256) public paidIn;
    mapping(address token => uint256) public strays;
    mapping(address token => mapping(address who => uint256)) public promised;
    mapping(address token => mapping(address who => uint256)) public elsewhere;

    constructor() {
        setUp();
        moody = new LyingToken();
        moody.set(true, true, false);
        moody.mint(payer, 1e30);
        tokens = [NATIVE, address(dollar), address(moody)];
        for (uint256 i = 0; i < 4; i++) tills[i] = new Till();
        vm.prank(payer);
        dollar.approve(address(splitter), type(uint256).max);
        vm.prank(payer);
        moody.approve(address(splitter), type(uint256).max);
    }

    function contract_() external view returns (PPVSplitter) {
        return splitter;
    }

    function count() external view returns (uint256) {
        return paid.length;
    }

    function _order(uint256 seed) private returns (PPVSplitter.Invoice memory) {
        PPVSplitter.Payee[] memory list = new PPVSplitter.Payee[](1 + seed % 5);
        for (uint256 i = 0; i < list.length; i++) {
            uint256 r = uint256(keccak256(abi.encode(seed, i)));
            list[i] = PPVSplitter.Payee(address(tills[r % 4]), 1 + (r >> 8) % 1e18);
        }
        return _invoice(tokens[(seed >> 128) % 3], list);
    }

    function _book(PPVSplitter.Invoice memory o, bytes memory sig) private {
        paidIn[o.token] += o.amount;
        for (uint256 i = 0; i < o.payees.length; i++) promised[o.token][o.payees[i].to] += o.payees[i].amount;
        paid.push(abi.encode(o, sig));
        paidId.push(o.id);
    }

    function pay(uint256 seed) external {
        PPVSplitter.Invoice memory o = _order(seed);
        bytes memory sig = _sign(signerKey, splitter.hashInvoice(o));
        bool closed = splitter.paused();
        vm.prank(payer);
        if (closed) vm.expectRevert();
        if (o.token == NATIVE) splitter.payNative{value: o.amount}(o, sig);
        else splitter.payToken(o, sig);
        if (!closed) _book(o, sig);
    }

    function payWithAuthorization(uint256 seed) external {
        PPVSplitter.Invoice memory o = _order(seed);
        o.token = address(dollar);
        bytes memory sig = _sign(signerKey, splitter.hashInvoice(o));
        bytes32 nonce = splitter.hashInvoice(o);
        bytes memory auth = _sign(PAYER, _receiveDigest(o, nonce));
        bool closed = splitter.paused();
        if (closed) vm.expectRevert();
        splitter.payWithAuthorization(o, sig, 0, type(uint256).max, nonce, auth);
        if (!closed) _book(o, sig);
    }

    function replay(uint256 seed) external {
        if (paid.length == 0) return;
        (PPVSplitter.Invoice memory o, bytes memory sig) =
            abi.decode(paid[seed % paid.length], (PPVSplitter.Invoice, bytes));
        vm.prank(payer);
        vm.expectRevert();
        if (o.token == NATIVE) splitter.payNative{value: o.amount}(o, sig);
        else splitter.payToken(o, sig);
    }

    function mood(uint256 seed) external {
        tills[seed % 4].set(Till.Mood((seed >> 8) % 4));
    }

    function block_(uint256 seed) external {
        dollar.setBlocked(address(tills[seed % 4]), (seed >> 8) % 2 == 0);
    }

    /// The third token sends, or answers no and does not.
    function moods(uint256 seed) external {
        bool good = seed % 2 == 0;
        moody.set(good, good, false);
    }

    function withdraw(uint256 seed) external {
        address token = tokens[(seed >> 8) % 3];
        tills[seed % 4].run(address(splitter), abi.encodeCall(splitter.withdraw, (token)));
    }

    function withdrawTo(uint256 seed) external {
        address token = tokens[(seed >> 8) % 3];
        Till till = tills[seed % 4];
        uint256 credit = splitter.credits(token, address(till));
        address to = address(uint160(uint256(keccak256(abi.encode("elsewhere", seed % 4)))));
        (bool ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdrawTo, (token, to)));
        if (ok) elsewhere[token][address(till)] += credit;
    }

    function pauseOrNot(uint256 seed) external {
        vm.startPrank(owner);
        // Open three times out of four, so that most of a sequence sells.
        if (splitter.paused()) splitter.unpause();
        else if (seed % 4 == 0) splitter.pause();
        vm.stopPrank();
    }

    function rotate(uint256 seed) external {
        signerKey = 1 + seed % (N - 1);
        vm.prank(owner);
        splitter.setSigner(vm.addr(signerKey));
    }

    function force(uint256 seed) external {
        address token = tokens[seed % 3];
        uint256 amount = (seed >> 8) % 1e18;
        if (token == NATIVE) vm.deal(address(splitter), address(splitter).balance + amount);
        else PlainToken(token).mint(address(splitter), amount);
        strays[token] += amount;
    }

    function rescue(uint256 seed) external {
        address token = tokens[seed % 3];
        bool fails = strays[token] == 0 || (token == address(moody) && !moody.moves());
        if (!fails) strays[token] = 0;
        vm.prank(owner);
        if (fails) vm.expectRevert();
        splitter.rescue(token, address(0x5AFE));
    }
}

contract InvariantTest is Base {
    Handler private handler;

    function setUp() public override {
        handler = new Handler();
        splitter = handler.contract_();
    }

    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        bytes4[12] memory all = [
            Handler.pay.selector, Handler.payWithAuthorization.selector, Handler.replay.selector, Handler.mood.selector,
            Handler.block_.selector, Handler.moods.selector, Handler.withdraw.selector, Handler.withdrawTo.selector,
            Handler.pauseOrNot.selector, Handler.rotate.selector, Handler.force.selector, Handler.rescue.selector
        ];
        list = new FuzzSelector[](1);
        list[0].addr = address(handler);
        list[0].selectors = new bytes4[](12);
        for (uint256 i = 0; i < 12; i++) list[0].selectors[i] = all[i];
    }

    function invariant_books() public view {
        for (uint256 i = 0; i < 3; i++) {
            address token = handler.tokens(i);
            uint256 credits = 0;
            uint256 received = 0;
            for (uint256 k = 0; k < 4; k++) {
                address till = address(handler.tills(k));
                uint256 credit = splitter.credits(token, till);
                uint256 got = _balance(token, till) + handler.elsewhere(token, till);
                vm.assertEq(got + credit, handler.promised(token, till), "a payee has all that was promised, paid or credited");
                credits += credit;
                received += got;
            }
            vm.assertEq(splitter.owed(token), credits, "owed is the sum of credits");
            vm.assertEq(_balance(token, address(splitter)), credits + handler.strays(token), "nothing stray but what was forced in");
            vm.assertEq(handler.paidIn(token), received + credits, "sum in is sum out");
        }
        uint256 count = handler.count();
        for (uint256 i = 0; i < count; i++) vm.assertTrue(splitter.used(handler.paidId(i)), "paid is used");
    }
}
