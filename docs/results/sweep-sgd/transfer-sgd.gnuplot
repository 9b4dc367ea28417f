# gnuplot transfer-sgd.gnuplot  writes transfer-sgd.svg and transfer-sgd.png
data = 'transfer-sgd.dat'
do for [format in 'svg png'] {
reset
if (format eq 'svg') { set terminal svg noenhanced size 500,300 font 'sans,10' background 'white' } else { set terminal pngcairo noenhanced size 500,300 font 'sans,8' }
set output 'transfer-sgd'.'.'.format
set multiplot layout 1,2 title 'Learning rate transfer, SGD' margins screen 0.1400, screen 0.9700, screen 0.2833, screen 0.8333 spacing screen 0.1400, screen 0.2333
unset key
set grid lc rgb '#dddddd'
set tics nomirror
set logscale x
set xlabel 'peak learning rate' offset 0,0.5
set ylabel 'loss - best of the width' offset 1,0
set format y '%g'
set title 'SP'
unset object
set object rectangle from 0.16045588470721794,graph 0 to 0.22887346909403586,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.20612926365960754,graph 0 to 0.21443956674478107,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
plot data index 0 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 1 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 2 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  '+' every ::::0 using (0.1916353176465487):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.21024335897380203):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.18557094569824412):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73'
set title 'GDN_MUP'
unset object
set object rectangle from 0.18282244709367576,graph 0 to 0.21633499568497233,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.16997758638610924,graph 0 to 0.18181782236199762,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.15007374479568783,graph 0 to 0.15107204394032778,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.11167269244152737,graph 0 to 0.1325036340169895,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 3 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 4 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 5 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 6 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.19887406392771892):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.17579805063501333):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.15057206702461015):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73', \
  '+' every ::::0 using (0.12164307448007047):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#cc79a7'
unset margins
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset logscale
unset object
set key center center horizontal
set size 1,0.13333333333333333
set origin 0,0
set xrange [0:1]
set yrange [0:1]
plot NaN with lines lw 3 lc rgb '#0072b2' title '64', \
  NaN with lines lw 3 lc rgb '#d55e00' title '128', \
  NaN with lines lw 3 lc rgb '#009e73' title '256', \
  NaN with lines lw 3 lc rgb '#cc79a7' title '512'
unset multiplot
unset output
}
